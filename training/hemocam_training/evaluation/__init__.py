"""How well a bundle does on scans with known labels and masks: counts once, every figure from them."""
