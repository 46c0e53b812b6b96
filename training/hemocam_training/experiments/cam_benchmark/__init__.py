"""How well each activation map method localises, in the form of the CAM benchmark paper."""
