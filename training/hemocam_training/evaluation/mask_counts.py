"""Pixels of every slice that a way to make masks calls, that are true, and both: all figures of masks follow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemocam_training.evaluation.baseline import baseline_labels
from hemocam_training.mapped_scans import MappedScan
from HemoCAMLib.mask import MaskSettings, label_scan
from HemoCAMLib.model.calibration import Calibration
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Way:
    """A way to make masks.

    Attributes:
        name: in tables.
        settings: None for the threshold on HU alone, which needs no model and knows no subtypes.
        true_gates: call a subtype in the slices that truly show it, instead of where its probability says so: masks
            are judged apart from the classification, as in the weakly supervised paper's second table.
    """

    name: str
    settings: MaskSettings | None
    true_gates: bool = False


def changed(recommended: MaskSettings, change: Any) -> MaskSettings:
    """Settings with another refinement, or with other values of any field.

    Args:
        recommended: what to start from.
        change: a refinement as :meth:`RefinementSettings.from_value` takes it, or a table of mask settings.
    """
    whole = isinstance(change, Mapping) and "name" not in change
    return recommended.changed(change if whole else {"refinement": change})


@dataclass
class MaskCounts:
    """Pixels of all slices of all scans, for one way; ``any`` comes first, then the subtypes.

    Attributes:
        both, called, truth: [slice, class].
        false_any: [slice] called hemorrhage where there is none of any kind.
        seconds: of each scan.
    """

    both: list[Counts] = field(default_factory=list)
    called: list[Counts] = field(default_factory=list)
    truth: list[Counts] = field(default_factory=list)
    false_any: list[Counts] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, scan: MappedScan, way: Way, calibration: Calibration | None) -> None:
        """Makes the masks of one scan and counts; a scan without a mask counts what is called only."""
        started = time.perf_counter()
        found = labels_by(scan, way, calibration)
        self.seconds.append(time.perf_counter() - started)
        truth = np.zeros(scan.hu.shape, np.uint8) if scan.truth is None else scan.truth
        if way.settings is None or scan.mask_kind == "any":
            truth = (truth > 0).view(np.uint8)
        tables = np.stack([confusion(one, real) for one, real in zip(found, truth, strict=True)])
        both, called, real = (np.zeros((len(found), len(CLASS_NAMES)), np.int64) for _ in range(3))
        both[:, 0], called[:, 0] = tables[:, 1:, 1:].sum(axis=(1, 2)), tables[:, 1:].sum(axis=(1, 2))
        real[:, 0] = tables[:, :, 1:].sum(axis=(1, 2))
        for subtype in SUBTYPES:
            k = subtype.label
            called[:, k] = tables[:, k].sum(axis=1)
            if scan.mask_kind != "any":
                both[:, k], real[:, k] = tables[:, k, k], tables[:, :, k].sum(axis=1)
        self.both.append(both)
        self.called.append(called)
        self.truth.append(real)
        self.false_any.append(tables[:, 1:, 0].sum(axis=1))


def labels_by(scan: MappedScan, way: Way, calibration: Calibration | None) -> list[NDArray[np.uint8]]:
    """[row, column] labels of every slice; 1 for everything where the way knows no subtypes."""
    if way.settings is None:
        return list(baseline_labels(scan.hu, scan.brain, scan.geometry.pixel_spacing_mm[0]).view(np.uint8))
    settings = way.settings
    if not scan.has_geometry:
        # Millimetres mean nothing there.
        settings = replace(settings, minimum_volume_ml=0.0)
    gates = true_presence(scan) if way.true_gates else scan.probabilities(calibration)[:, 1:].T
    return list(label_scan(scan.local_logits, gates, scan.brain, scan.geometry, settings, scan.hu))


def true_presence(scan: MappedScan) -> NDArray[np.float32]:
    """[5, slice] 1 where a slice shows a subtype, else 0: by its mask, or by its labels where it has none."""
    if scan.truth is None or scan.mask_kind != "subtypes":
        return np.ascontiguousarray(scan.target[:, 1:].T)
    shown = [(scan.truth == subtype.label).any(axis=(1, 2)) for subtype in SUBTYPES]
    return np.stack(shown).astype(np.float32)


def confusion(called: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Counts:
    """[called label, true label] number of pixels.

    >>> confusion(np.array([[1, 0]], np.uint8), np.array([[1, 2]], np.uint8))[:3, :3].tolist()
    [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    """
    size = len(SUBTYPES) + 1
    if not (called.any() or truth.any()):
        table = np.zeros((size, size), np.int64)
        table[0, 0] = called.size
        return table
    return np.bincount((called * np.uint8(size) + truth).ravel(), minlength=size * size).reshape(size, size)
