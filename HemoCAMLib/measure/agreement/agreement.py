"""Everything that two segmentations of one scan agree and differ in, as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from HemoCAMLib.measure.agreement.detection import SliceDetection
from HemoCAMLib.measure.agreement.lesions import LesionAgreement, LesionPair
from HemoCAMLib.measure.agreement.overlap import Empty, Overlap
from HemoCAMLib.measure.agreement.surface import SurfaceAgreement

#: Version of ``agreement.json``; grows when a field changes its meaning or goes.
AGREEMENT_SCHEMA = 1

OVERLAP_METRICS = ("dice", "iou", "precision", "recall", "specificity")
SURFACE_METRICS = (
    "hausdorff_mm",
    "hausdorff95_mm",
    "mean_surface_distance_mm",
    "surface_dice_1mm",
    "surface_dice_2mm",
)

#: Why a number is missing, by which mask is empty.
WHY_EMPTY: dict[Empty, str] = {
    "both": "both are empty",
    "prediction": "the prediction is empty",
    "truth": "the truth is empty",
}


@dataclass(frozen=True)
class CompareOptions:
    """What is computed.

    Attributes:
        surfaces: distances between surfaces, per structure, slice and lesion.
        lesions: lesions matched one by one.
        slices: one row a slice.
        lesion_minimum_iou: 0 for the matching by touch, above it the IoU that makes a match
            (see :mod:`~HemoCAMLib.measure.agreement.lesions`).
    """

    surfaces: bool = True
    lesions: bool = True
    slices: bool = True
    lesion_minimum_iou: float = 0.0


EVERYTHING = CompareOptions()

#: Overlap, volumes and slice-level detection alone: ten times faster.
OVERLAP_ONLY = CompareOptions(surfaces=False, lesions=False, slices=False)


@dataclass(frozen=True)
class VolumeAgreement:
    """Volumes in mL, each voxel with its slice's true extent.

    Attributes:
        prediction_ml: of the prediction.
        truth_ml: of the truth on the prediction's grid.
        truth_own_grid_ml: of the truth on its own grid; differs where it was resampled or its file's geometry is
            another, such as one uniform step for uneven ones.
    """

    prediction_ml: float
    truth_ml: float
    truth_own_grid_ml: float

    @property
    def difference_ml(self) -> float:
        """Prediction minus truth."""
        return self.prediction_ml - self.truth_ml

    @property
    def difference_percent(self) -> float | None:
        """Of the truth's volume; None where that is 0."""
        return 100 * self.difference_ml / self.truth_ml if self.truth_ml > 0 else None


@dataclass(frozen=True)
class SliceAgreement:
    """One structure in one slice.

    Attributes:
        index: of the slice, 0 at the feet.
        overlap: pixel counts and ratios.
        prediction_mm2: area.
        truth_mm2: area.
        box_iou: IoU of the boxes around all of the structure in this slice; None where both are empty.
        surface: distances between outlines within the slice; None where they were not asked for.
        probability: of the classifier; None where there is none.
    """

    index: int
    overlap: Overlap
    prediction_mm2: float
    truth_mm2: float
    box_iou: float | None
    surface: SurfaceAgreement | None
    probability: float | None

    def to_dict(self) -> dict[str, Any]:
        """Flat: one row of ``agreement_slices.csv``."""
        row: dict[str, Any] = {
            "slice": self.index,
            "empty": self.overlap.empty,
            "prediction_mm2": _rounded(self.prediction_mm2),
            "truth_mm2": _rounded(self.truth_mm2),
            **_ratios(self.overlap),
            "box_iou": _rounded(self.box_iou),
        }
        for name in SURFACE_METRICS:
            row[name] = None if self.surface is None else _rounded(getattr(self.surface, name))
        row["probability"] = _rounded(self.probability)
        return row


@dataclass(frozen=True)
class StructureAgreement:
    """One structure of the scan: a subtype, or any hemorrhage.

    Attributes:
        overlap: voxel counts and ratios.
        volume_dice: Dice of volumes instead of voxel counts; differs from Dice where slices have uneven extents.
        volume: mL.
        detection: slices called right.
        surface: distances; None where they were not asked for.
        lesions: lesion by lesion; None where they were not asked for.
        slices: slice by slice; empty where they were not asked for.
    """

    overlap: Overlap
    volume_dice: float | None
    volume: VolumeAgreement
    detection: SliceDetection
    surface: SurfaceAgreement | None = None
    lesions: LesionAgreement | None = None
    slices: tuple[SliceAgreement, ...] = ()

    @property
    def dice(self) -> float | None:
        """2 TP / (2 TP + FP + FN); None where both are empty."""
        return self.overlap.dice

    @property
    def box_iou(self) -> float | None:
        """Mean IoU of the bounding boxes of true lesions; None without one, or where lesions were not asked for."""
        return None if self.lesions is None else self.lesions.box_iou

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what is undefined is None and its reason stands in ``undefined``."""
        fields: dict[str, Any] = {
            "empty": self.overlap.empty,
            "voxels": asdict(self.overlap),
            **_ratios(self.overlap),
            "volume_dice": _rounded(self.volume_dice),
            "prediction_ml": _rounded(self.volume.prediction_ml),
            "truth_ml": _rounded(self.volume.truth_ml),
            "truth_own_grid_ml": _rounded(self.volume.truth_own_grid_ml),
            "difference_ml": _rounded(self.volume.difference_ml),
            "difference_percent": _rounded(self.volume.difference_percent),
            "slice_detection": {
                **asdict(self.detection),
                "sensitivity": _rounded(self.detection.sensitivity),
                "specificity": _rounded(self.detection.specificity),
                "auroc": _rounded(self.detection.auroc),
            },
        }
        if self.surface is not None:
            fields |= {name: _rounded(getattr(self.surface, name)) for name in SURFACE_METRICS}
        if self.lesions is not None:
            fields["box_iou"] = _rounded(self.box_iou)
            fields["lesions"] = _lesions_dict(self.lesions)
        fields["undefined"] = self._undefined(fields)
        return fields

    def _undefined(self, fields: dict[str, Any]) -> dict[str, str]:
        why = WHY_EMPTY.get(self.overlap.empty, "")
        reasons = {name: why for name, value in fields.items() if value is None and why}
        if fields["slice_detection"]["auroc"] is None:
            constant = self.detection.true_positive + self.detection.false_negative == 0
            every = self.detection.true_negative + self.detection.false_positive == 0
            reasons["slice_detection.auroc"] = (
                "no slice of the truth shows it"
                if constant
                else "every slice of the truth shows it"
                if every
                else "the prediction has no probabilities"
            )
        return reasons


@dataclass(frozen=True)
class Agreement:
    """What a prediction and a truth agree and differ in.

    Attributes:
        structures: by name: ``any``, then the subtypes that both can tell.
        options: what was computed.
        grid: ``same`` (voxel for voxel) or ``resampled`` (truth brought onto the prediction's grid, nearest neighbour).
        notes: what to know about the comparison, one sentence each.
        prediction_kind: ``run``, ``nifti``, ``nrrd``, ``seg.nrrd``, ``dicom-seg`` or ``array``.
        truth_kind: the same.
        mapping: what the truth's own labels were taken for, by label or segment name.
    """

    structures: dict[str, StructureAgreement]
    options: CompareOptions
    grid: str = "same"
    notes: tuple[str, ...] = ()
    prediction_kind: str = "array"
    truth_kind: str = "array"
    mapping: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, structure: str) -> StructureAgreement:
        """The agreement of a structure by name."""
        return self.structures[structure]

    def to_dict(self) -> dict[str, Any]:
        """Content of ``agreement.json``: plain values without NaN or infinity, no paths, nothing about the patient."""
        return {
            "schema": AGREEMENT_SCHEMA,
            "prediction": {"kind": self.prediction_kind},
            "truth": {"kind": self.truth_kind, "mapping": dict(self.mapping)},
            "grid": self.grid,
            "notes": list(self.notes),
            "options": asdict(self.options),
            "structures": {name: structure.to_dict() for name, structure in self.structures.items()},
            "slices": self.slice_rows(),
        }

    def slice_rows(self) -> list[dict[str, Any]]:
        """One row a slice and structure."""
        return [
            {"structure": name, **row.to_dict()}
            for name, structure in self.structures.items()
            for row in structure.slices
        ]


def _ratios(overlap: Overlap) -> dict[str, float | None]:
    return {name: _rounded(getattr(overlap, name)) for name in OVERLAP_METRICS}


def _lesions_dict(lesions: LesionAgreement) -> dict[str, Any]:
    return {
        "truth_count": lesions.truth_count,
        "prediction_count": lesions.prediction_count,
        "found": lesions.found,
        "missed": lesions.missed,
        "false_positives": lesions.false_positives,
        "f1": _rounded(lesions.f1),
        "sensitivity": _rounded(lesions.sensitivity),
        "precision": _rounded(lesions.precision),
        "pairs": [_pair_dict(pair) for pair in lesions.pairs],
    }


def _pair_dict(pair: LesionPair) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(pair).items() if name != "surface"}
    fields = {name: _rounded(value) if isinstance(value, float) else value for name, value in fields.items()}
    for name in SURFACE_METRICS:
        fields[name] = None if pair.surface is None else _rounded(getattr(pair.surface, name))
    return fields


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
