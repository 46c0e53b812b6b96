"""From a training to a bundle: description, weights, model card, range of the training scans, self-check."""
