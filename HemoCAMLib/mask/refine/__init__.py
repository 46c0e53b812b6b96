"""Refinement with the image itself: a map says where, Hounsfield units say how far."""

from __future__ import annotations

from HemoCAMLib.mask.refine.refine_slice import Outcome, RefinedSlice, refine_slice
from HemoCAMLib.mask.refine.settings import REFINEMENT_NAMES, RefinementSettings

__all__ = ["REFINEMENT_NAMES", "Outcome", "RefinedSlice", "RefinementSettings", "refine_slice"]
