"""Slices preprocessed once: memory-mapped shards on disk, from any dataset or from phantoms, and their use by torch."""

from __future__ import annotations

from hemocam_training.shards.preprocessing import Preprocessing
from hemocam_training.shards.slice_shards import SliceShards
from hemocam_training.shards.writing import write_shards

__all__ = ["Preprocessing", "SliceShards", "write_shards"]
