"""From a scan's statistics and a model's training range to sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from HemoCAMLib.quality.statistics import ScanStatistics

Severity = Literal["note", "warning"]

#: By name of a statistic the lowest and the highest value of a model's training scans.
TrainingRange = Mapping[str, tuple[float, float]]

#: Beyond the training range by more than this share of its width a value is a warning, not a note.
FAR = 0.25

#: What the training range is called, its unit, and what follows from being outside.
_MEANINGS: dict[str, tuple[str, str, str]] = {
    "pixel_spacing_mm": ("Pixel size", "mm", "Small findings may look different to the model."),
    "slice_extent_mm": ("Slice thickness", "mm", "Partial volume, and what neighbouring slices show, differ."),
    "tilt_deg": ("Gantry tilt", "°", "Volumes are exact under any tilt; the shapes shown to the model differ."),
    "brain_p10_hu": ("Density of the darker brain", "HU", "The calibration, the beam hardening or the brain differ."),
    "brain_median_hu": ("Median density of the brain", "HU", "Check the calibration and for contrast medium."),
    "brain_p90_hu": ("Density of the brighter brain", "HU", "Check for contrast medium, or for much blood."),
    "noise_hu": ("Fine noise of the brain", "HU", "The reconstruction kernel or the dose differ."),
}

#: Statistics that are held against a model's training range.
COMPARED = tuple(_MEANINGS)

#: Vessels with contrast medium fill more than this share of the inside; a calcified choroid plexus stays below.
ENHANCED_PERCENT = 0.6

#: A clip or a coil is larger; a noisy spike is not.
METAL_ML = 0.02

#: A head that is shown whole ends in slices with less brain than this.
CUT_OFF_CM2 = {"lowest_area_cm2": 95.0, "highest_area_cm2": 45.0}


@dataclass(frozen=True)
class Finding:
    """One thing to know about the input.

    Attributes:
        code: stable identifier, ``QUALITY_*``.
        severity: ``note``, or ``warning`` where the result should be read with caution.
        message: one sentence or two, no patient data.
        statistic: name in :class:`ScanStatistics`.
        value: what was measured.
        low: lower end of what the model was trained on, or None.
        high: upper end of it, or the limit that was passed.
    """

    code: str
    severity: Severity
    message: str
    statistic: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Assessment:
    """Statistics and findings of one scan under one model.

    Attributes:
        statistics: what was measured.
        findings: warnings first.
        compared: whether the model says what it was trained on; without it only absolute limits are checked.
    """

    statistics: ScanStatistics
    findings: tuple[Finding, ...]
    compared: bool

    @property
    def summary(self) -> str:
        """One sentence for a person."""
        warnings = sum(finding.severity == "warning" for finding in self.findings)
        if warnings == 1:
            return "There is a reason to read the result of this scan with caution."
        if warnings:
            return f"There are {warnings} reasons to read the result of this scan with caution."
        if not self.compared:
            return "The model does not say what scans it was trained on, so the scan could not be compared with them."
        if self.findings:
            return "This scan is at the edge of what the model was trained on."
        return "Sampling, density and noise of this scan lie within what the model was trained on."

    def as_dict(self) -> dict[str, Any]:
        """As it stands in ``result.json``."""
        return {
            "summary": self.summary,
            "compared": self.compared,
            "findings": [
                {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(f).items()}
                for f in self.findings
            ],
            "statistics": self.statistics.as_dict(),
        }


def assess(statistics: ScanStatistics, training_range: TrainingRange) -> Assessment:
    """Holds a scan against the range of a model's training scans, and against limits that hold for any model.

    Being within the range says that sampling, density and noise are familiar, not that the result is right.

    Args:
        statistics: of the scan.
        training_range: by name of a statistic the range (low, high) in which the training scans lie; empty where
            the model does not say.

    >>> scan = ScanStatistics(pixel_spacing_mm=0.9, slice_extent_mm=5.0, tilt_deg=0.0)
    >>> assess(scan, {"pixel_spacing_mm": (0.4, 0.5), "slice_extent_mm": (2.5, 5.0)}).findings[0].message
    'Pixel size is 0.9 mm; the model was trained on 0.4 to 0.5 mm. Small findings may look different to the model.'
    """
    values = {name: value for name, value in asdict(statistics).items() if value is not None}
    found = [*_absolute(values), *_unfamiliar(values, training_range)]
    found.sort(key=lambda finding: finding.severity != "warning")
    return Assessment(statistics, tuple(found), bool(training_range))


def _unfamiliar(values: Mapping[str, float], training_range: TrainingRange) -> list[Finding]:
    found = []
    for name, (title, unit, meaning) in _MEANINGS.items():
        if name not in values or name not in training_range:
            continue
        value, (low, high) = values[name], training_range[name]
        beyond = max(low - value, value - high)
        if beyond <= 0:
            continue
        space = "" if unit == "°" else " "
        range_text = f"{low:.3g} to {high:.3g}{space}{unit}"
        message = f"{title} is {value:.3g}{space}{unit}; the model was trained on {range_text}. {meaning}"
        severity: Severity = "warning" if beyond > FAR * (high - low) else "note"
        found.append(Finding("QUALITY_UNFAMILIAR", severity, message, name, value, low, high))
    return found


def _absolute(values: Mapping[str, float]) -> list[Finding]:
    checks: list[tuple[str, str, float, str]] = [
        (
            "QUALITY_CONTRAST",
            "enhanced_percent",
            ENHANCED_PERCENT,
            "The scan looks like one with contrast medium: vessels can be taken for hemorrhage. Use the scan without.",
        ),
        (
            "QUALITY_METAL",
            "metal_ml",
            METAL_ML,
            "There is metal inside the skull (clip, coil, shunt or electrode): streaks can be taken for hemorrhage.",
        ),
        (
            "QUALITY_BASE_CUT_OFF",
            "lowest_area_cm2",
            CUT_OFF_CM2["lowest_area_cm2"],
            "The scan begins within the brain: what lies below its first slice is not measured.",
        ),
        (
            "QUALITY_VERTEX_CUT_OFF",
            "highest_area_cm2",
            CUT_OFF_CM2["highest_area_cm2"],
            "The scan ends within the brain: what lies above its last slice is not measured.",
        ),
    ]
    return [
        Finding(code, "warning", message, name, values[name], high=limit)
        for code, name, limit, message in checks
        if values.get(name, 0.0) > limit
    ]
