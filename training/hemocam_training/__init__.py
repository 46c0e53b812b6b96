"""Training side of HemoCAM: phantoms, fitting from slice labels, tuning, measuring, export."""
