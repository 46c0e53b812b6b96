"""Learning from slice labels (and, for segmentation networks, masks): typed settings in, weights and history out."""
