"""What the training package refuses, in the family of :mod:`HemoCAMLib.errors`.

Codes: ``DATA_*`` for a dataset that cannot be used as it lies on disk, ``TRAIN_*`` for a training or an evaluation
that would not mean what it seems to mean.
"""

from __future__ import annotations

from HemoCAMLib.errors import HemoCAMError


class DataRefused(HemoCAMError):
    """A dataset, an index or a split is not what it has to be."""

    exit_code = 3


class LeakFound(HemoCAMError):
    """An evaluation would measure on what the model was trained on."""

    exit_code = 6


class ConfigRefused(HemoCAMError):
    """The settings of a training or an experiment cannot be used as they are."""

    exit_code = 2
