"""Maps from what happens to the scores when something is taken away."""
