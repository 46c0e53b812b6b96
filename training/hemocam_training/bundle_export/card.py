"""The model card in Markdown, from what the bundle says of itself; it says nothing that the bundle does not hold.

Sections follow Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.subtypes import ANY, CLASS_NAMES

#: Figures of an evaluation that the card shows: key in the rows of the evaluation, heading, decimals.
_MASKS = (
    ("scans", "scans", 0),
    ("dice_pooled", "Dice, pooled", 3),
    ("dice_mean_slice", "Dice, mean of slices", 3),
    ("volume_error_ml", "median \\|error\\|, mL", 1),
    ("false_ml", "false mL where absent", 2),
)
_RATES = (
    ("auroc", "AUROC", 3),
    ("sensitivity", "sensitivity", 3),
    ("specificity", "specificity", 3),
)

_RANGES = {
    "pixel_spacing_mm": "pixel size, mm",
    "slice_extent_mm": "slice thickness, mm",
    "tilt_deg": "gantry tilt, degrees",
    "brain_p10_hu": "10th percentile of the brain, HU",
    "brain_median_hu": "median of the brain, HU",
    "brain_p90_hu": "90th percentile of the brain, HU",
    "noise_hu": "fine noise, HU",
}


def model_card(metadata: BundleMetadata) -> str:
    """The card."""
    metrics = metadata.metrics
    parts = [
        f"# {metadata.name} {metadata.version}",
        metadata.description,
        f"**Intended use.** {metadata.intended_use}",
        _about(metadata),
        "## What it learned from",
        *(_data_line(entry) for entry in metadata.training_data),
        *_training(metrics.get("training")),
        "## Settings",
        _thresholds(metadata),
        _masks(metadata),
        *_tuning(metrics.get("tuning")),
        *_evaluations(metrics.get("evaluations") or ()),
        *_range(metadata),
        *_listed("Looked at, not measured", metrics.get("observations") or ()),
        *_listed("Limits", metrics.get("limits") or ()),
        *_self_check(metrics.get("self_check")),
        *_changes(metadata),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table; all columns but the first are set flush right."""
    rule = ["---", *("---:" for _ in heads[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *rows))


def _about(metadata: BundleMetadata) -> str:
    rows, columns = metadata.input_size
    encoder = metadata.arguments.get("encoder")
    lines = [
        f"- Network: {metadata.architecture}"
        + (f" on {encoder}" if encoder else "")
        + f"; maps from `{metadata.map_layer}`",
        f"- Input: {metadata.neighbours} neighbouring slices of {rows} × {columns}, window centre "
        f"{metadata.window_center_hu:g} HU, width {metadata.window_width_hu:g} HU",
        f"- Classes: {', '.join(metadata.subtypes)}",
        f"- Authors: {metadata.authors}" if metadata.authors else "",
        f"- Licence: {metadata.copyright}" if metadata.copyright else "",
    ]
    return "\n".join(line for line in lines if line)


def _data_line(entry: Mapping[str, Any]) -> str:
    told = [f"{key.replace('_', ' ')}: {_plain(value)}" for key, value in entry.items() if key != "name"]
    return f"- **{entry.get('name', '')}** – {'; '.join(told)}"


def _training(training: Any) -> list[str]:
    stages = training.get("stages") if isinstance(training, Mapping) else None
    if not isinstance(stages, Sequence) or isinstance(stages, str):
        return []
    rows = [
        [str(n), *(_plain(stage.get(key, "–")) for key in ("size", "step", "slices", "minutes", "scans"))]
        for n, stage in enumerate(stages, 1)
        if isinstance(stage, Mapping)
    ]
    return [table(["stage", "input", "steps", "slices seen", "minutes", "scans"], rows)] if rows else []


def _thresholds(metadata: BundleMetadata) -> str:
    scales = list(metadata.mask_thresholds)
    line = metadata.calibration
    heads = ["class", "called above", *(f"mask, {scale.replace('_', ' ')}" for scale in scales)]
    heads += ["calibration: slope", "offset"] if line else []
    rows = []
    for name in metadata.subtypes:
        row = [name, f"{metadata.class_thresholds[name]:.4g}"]
        row += [f"{metadata.mask_thresholds[s][name]:g}" if name in metadata.mask_thresholds[s] else "" for s in scales]
        rows.append(row + ([f"{line.scale[name]:.3f}", f"{line.offset[name]:.3f}"] if line else []))
    return table(heads, rows)


def _masks(metadata: BundleMetadata) -> str:
    refinement = metadata.refinement
    name = refinement.get("name") if isinstance(refinement, Mapping) else refinement
    least_ml = metadata.minimum_volume_ml
    return (
        f"Masks are made on the {metadata.mask_scale.replace('_', ' ')} scale; outlines are "
        + (f"refined on HU by {name}" if name else "those of the map")
        + (f"; lesions below {least_ml:g} mL are left out." if least_ml else "; no lesion is too small.")
    )


def _tuning(tuning: Any) -> list[str]:
    if not isinstance(tuning, Mapping):
        return ["These settings were not tuned."]
    told = [f"Chosen on {_plain(tuning.get('scans', 'some'))} scans for tuning.", tuning.get("leak_check", "")]
    told.append(_negatives(tuning.get("masks")))
    return [" ".join(str(one) for one in told if one)]


def _negatives(masks: Any) -> str:
    descent = masks.get("descent") if isinstance(masks, Mapping) else None
    if not isinstance(descent, Mapping) or not descent.get("negative_scans"):
        return ""
    end = descent.get("end")
    false_ml = end.get("false_ml") if isinstance(end, Mapping) else None
    count = descent["negative_scans"]
    return (
        f"What is marked in real scans without hemorrhage was in view as well ({count} of them, "
        f"{_figure(false_ml, 2)} mL on average), so they are no independent test of false findings."
    )


def _evaluations(evaluations: Any) -> list[str]:
    parts = []
    for one in evaluations:
        if not isinstance(one, Mapping):
            continue
        parts += [f"## {one.get('title', 'Evaluation')}", f"{one.get('data', '')} {one.get('leak_check', '')}".strip()]
        rows = [row for row in one.get("rows", ()) if isinstance(row, Mapping)]
        keys = [(key, head, digits) for key, head, digits in (*_RATES, *_MASKS) if any(key in row for row in rows)]
        order = [*CLASS_NAMES[1:], ANY]
        rows.sort(key=lambda row: order.index(row["class"]) if row.get("class") in order else len(order))
        parts.append(
            table(
                ["", *(head for _, head, _ in keys)],
                [
                    [str(row.get("class", "")), *(_figure(row.get(key), digits) for key, _, digits in keys)]
                    for row in rows
                ],
            )
        )
        parts.append(str(one.get("note", "")))
    return parts


def _range(metadata: BundleMetadata) -> list[str]:
    if not metadata.training_range:
        return []
    rows = [[_RANGES.get(name, name), f"{low:g}", f"{high:g}"] for name, (low, high) in metadata.training_range.items()]
    return [
        "## Scans it is familiar with",
        "Lowest and highest value of the training scans; a report says where a scan lies outside.",
        table(["", "from", "to"], rows),
    ]


def _listed(heading: str, sentences: Iterable[Any]) -> list[str]:
    lines = [f"- {one}" for one in sentences]
    return [f"## {heading}", "\n".join(lines)] if lines else []


def _self_check(check: Any) -> list[str]:
    if not isinstance(check, Mapping):
        return []
    told = ", ".join(f"{name} {_plain(value)}" for name, value in check.items() if name not in ("slices", "passed"))
    return [f"Read back and compared with the checkpoint on {check.get('slices')} slices; largest differences: {told}."]


def _changes(metadata: BundleMetadata) -> list[str]:
    lines = [f"- {version}: {text}" for version, text in metadata.changelog.items()]
    return ["## Versions", "\n".join(lines)] if lines else []


def _figure(value: Any, digits: int) -> str:
    """A number, or a value with the ends of its interval."""
    if isinstance(value, Mapping):
        low, high = value.get("low"), value.get("high")
        middle = _figure(value.get("value"), digits)
        return (
            middle if low is None or high is None else f"{middle} ({_figure(low, digits)} to {_figure(high, digits)})"
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    return f"{value:.{digits}f}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return str(value)
