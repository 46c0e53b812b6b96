"""Synthetic head CTs made by code only: anatomy, look-alikes, and five hemorrhage subtypes with exact truth."""

from __future__ import annotations

from hemocam_training.phantoms.insertion import InsertedLesions, insert_lesions
from hemocam_training.phantoms.noise import ct_noise
from hemocam_training.phantoms.phantom import SLICE_LABEL_NAMES, Phantom, make_phantom

__all__ = ["SLICE_LABEL_NAMES", "InsertedLesions", "Phantom", "ct_noise", "insert_lesions", "make_phantom"]
