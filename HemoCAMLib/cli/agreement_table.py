"""Agreement of one scan or many as tables for people."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from HemoCAMLib.cli.result_table import RESEARCH_ONLY
from HemoCAMLib.measure.agreement import Agreement, Cohort
from HemoCAMLib.measure.agreement.statistics import Interval
from HemoCAMLib.subtypes import SUBTYPES

_COLORS = {subtype.name: subtype.color_rgb for subtype in SUBTYPES}


def print_agreement(agreement: Agreement, console: Console) -> None:
    """Prints overlap, distances, lesions, slices and volumes of one scan, and what to know about them."""
    console.print(_overlap_table(agreement))
    if agreement.options.surfaces:
        console.print(_surface_table(agreement))
    if agreement.options.lesions:
        console.print(_lesion_table(agreement))
    console.print(_volume_table(agreement))
    if any(structure.overlap.empty == "both" for structure in agreement.structures.values()):
        console.print(Text("both empty: neither shows it, so overlap and distances are undefined, not perfect."))
    for note in agreement.notes:
        console.print(Text.assemble(("Note: ", "yellow"), note))
    console.print(Text(RESEARCH_ONLY, style="italic"))


def print_cohort(cohort: Cohort, console: Console) -> None:
    """Prints the means and the agreement of volumes over all cases, and the cases that were refused."""
    overlap = _table("Hemorrhage", "Scans", "Dice, mean", "Dice, pooled", "HD95\nmm", "Lesion\nF1")
    volumes = _table("Volume", "Bias\nmL", "Limits of agreement\nmL", "ICC(2,1)", "Concordance")
    for name, summary in cohort.summaries.items():
        overlap.add_row(
            _name(name),
            str(summary.cases),
            _interval(summary.means["dice"]),
            _interval(summary.pooled_dice),
            _number(summary.means["hausdorff95_mm"].value, 1),
            _number(summary.means["lesion_f1"].value, 2),
        )
        volume = summary.volume
        limits = [_number(limit.value, 1) for limit in (volume.lower_limit, volume.upper_limit)]
        volumes.add_row(
            _name(name),
            _number(volume.bias.value, 1),
            " to ".join(limits) if all(limits) else "",
            _interval(summary.icc),
            _interval(summary.concordance),
        )
    if cohort.summaries:
        console.print(overlap)
        console.print(volumes)
        console.print(Text("Means leave out scans where a number is undefined. Brackets are 95 % intervals."))
    for failed in cohort.failed:
        console.print(Text.assemble((f"Case {failed.number} refused: ", "red"), failed.error["message"]))
    console.print(Text(RESEARCH_ONLY, style="italic"))


def _table(first: str, *titles: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _overlap_table(agreement: Agreement) -> Table:
    table = _table("Hemorrhage", "Dice", "IoU", "Precision", "Recall", "Specificity")
    for name, structure in agreement.structures.items():
        overlap = structure.overlap
        first = Text("both empty", style="dim") if overlap.empty == "both" else Text(_number(overlap.dice))
        ratios = [_number(value) for value in (overlap.iou, overlap.precision, overlap.recall)]
        table.add_row(_name(name), first, *ratios, _number(overlap.specificity, 4))
    return table


def _lesion_table(agreement: Agreement) -> Table:
    table = _table("Lesions", "In truth", "Found", "Missed", "False", "F1", "Box IoU")
    for name, structure in agreement.structures.items():
        lesions = structure.lesions
        if lesions is not None and lesions.pairs:
            counts = (lesions.truth_count, lesions.found, lesions.missed, lesions.false_positives)
            table.add_row(_name(name), *map(str, counts), _number(lesions.f1), _number(lesions.box_iou))
    return table


def _surface_table(agreement: Agreement) -> Table:
    table = _table("Surfaces", "Hausdorff\nmm", "95 %\nmm", "Mean\nmm", "Dice at\n1 mm", "Dice at\n2 mm")
    for name, structure in agreement.structures.items():
        surface = structure.surface
        if surface is not None and surface.surface_dice_1mm is not None:
            distances = (surface.hausdorff_mm, surface.hausdorff95_mm, surface.mean_surface_distance_mm)
            dice = (surface.surface_dice_1mm, surface.surface_dice_2mm)
            table.add_row(_name(name), *(_number(value, 1) for value in distances), *map(_number, dice))
    return table


def _volume_table(agreement: Agreement) -> Table:
    table = _table(
        "Volume, slices", "Prediction\nmL", "Truth\nmL", "Difference\nmL", "%", "Slices\nsens.", "spec.", "AUROC"
    )
    for name, structure in agreement.structures.items():
        volume, detection = structure.volume, structure.detection
        table.add_row(
            _name(name),
            _number(volume.prediction_ml, 1),
            _number(volume.truth_ml, 1),
            f"{round(volume.difference_ml, 1) + 0.0:+.1f}",
            "" if volume.difference_percent is None else f"{volume.difference_percent:+.0f}",
            _number(detection.sensitivity, 2),
            _number(detection.specificity, 2),
            _number(detection.auroc),
        )
    return table


def _name(structure: str) -> Text:
    color = _COLORS.get(structure)
    if color is None:
        return Text(f"  {structure}")
    return Text.assemble(("■ ", f"rgb({color[0]},{color[1]},{color[2]})"), structure)


def _number(value: float | None, decimals: int = 3) -> str:
    # Adding 0.0 turns what rounds to minus nothing into nothing.
    return "" if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"


def _interval(interval: Interval, decimals: int = 2) -> str:
    if interval.value is None or interval.low is None or interval.high is None:
        return _number(interval.value, decimals)
    return f"{interval.value:.{decimals}f} [{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"
