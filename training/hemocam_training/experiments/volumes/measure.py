"""Volumes of one scan: of the mask and of the truth, each by its slices' true extents and by the usual short cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemocam_training.experiments.truth_scans import truth_of
from hemocam_training.scan_sources import LabelledScan
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.measure import Measurer
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES, SUBTYPES

#: What is compared with the truth's volume, by column, with its name in tables.
METHODS = {
    "mask_ml": "mask",
    "mask_one_step_ml": "mask, one uniform step",
    "mask_abc2_ml": "ABC/2 of the mask",
    "truth_one_step_ml": "truth, one uniform step",
    "truth_abc2_ml": "ABC/2 of the truth",
}

#: Slices are evenly spaced where the largest extent exceeds the smallest by no more than this share.
EVEN_SHARE = 0.05


@dataclass(frozen=True)
class ScanVolumes:
    """One structure in one scan.

    Attributes:
        scan: number, from 1; no name of a patient leaves the program.
        patient: to draw by.
        structure: ``any`` or a subtype.
        tilt_deg: of the gantry, without its sign.
        extent_mm: median extent of a slice along the normal.
        uneven: whether extents differ within the scan.
        truth_ml: of the truth, every slice with its own extent.
        by_method: mL by the keys of :data:`METHODS`.
    """

    scan: int
    patient: str
    structure: str
    tilt_deg: float
    extent_mm: float
    uneven: bool
    truth_ml: float
    by_method: dict[str, float]


def scan_volumes(number: int, scan: LabelledScan, labels: NDArray[np.uint8]) -> list[ScanVolumes]:
    """One row a structure: ``any``, and where the truth tells them, the subtypes.

    ``one uniform step`` is what a reader gives that takes the mean distance of neighbouring positions for every slice,
    tilt ignored. ABC/2 is that of a subtype's largest lesion (:class:`HemoCAMLib.measure.Measurer`); for ``any`` it is
    the sum over subtypes.

    Args:
        number: of the scan.
        scan: with mask and geometry.
        labels: [slice, row, column] the prediction, on the same grid.
    """
    truth, geometry = truth_of(scan)
    found = {"mask": _volumes(labels, geometry), "truth": _volumes(truth, geometry)}
    extents = geometry.extents_mm
    about: dict[str, Any] = {
        "tilt_deg": abs(geometry.tilt_deg),
        "extent_mm": float(np.median(extents)),
        "uneven": bool(extents.max() > (1 + EVEN_SHARE) * extents.min()),
    }
    return [
        ScanVolumes(
            number,
            scan.patient,
            structure,
            truth_ml=found["truth"][structure]["ml"],
            by_method={
                "mask_ml": found["mask"][structure]["ml"],
                **{f"{of}_{way}_ml": found[of][structure][way] for of in found for way in ("one_step", "abc2")},
            },
            **about,
        )
        for structure in ((ANY, *SUBTYPE_NAMES) if scan.mask_kind == "subtypes" else (ANY,))
    ]


def _volumes(labels: NDArray[np.uint8], geometry: SliceGeometry) -> dict[str, dict[str, float]]:
    """mL by structure and way of measuring."""
    measurer = Measurer(geometry)
    for index in range(len(labels)):
        measurer.add(index, labels[index])
    measured = measurer.finish()
    voxel_ml = geometry.pixel_area_mm2 * geometry.uniform_step_mm / 1000
    by_structure = {
        subtype.name: {
            "ml": measured.volume_ml[subtype.name],
            "one_step": float(np.count_nonzero(labels == subtype.label)) * voxel_ml,
            "abc2": measured.abc2_ml[subtype.name],
        }
        for subtype in SUBTYPES
    }
    ways = ("ml", "one_step", "abc2")
    by_structure[ANY] = {way: sum(by_structure[name][way] for name in SUBTYPE_NAMES) for way in ways}
    return by_structure
