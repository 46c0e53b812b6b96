"""A finished analysis as a table for people."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import ANY, SUBTYPES

RESEARCH_ONLY = "Research software, not for clinical use."


def print_result(result: Result, console: Console) -> None:
    """Prints the scan, the volumes, what to know about them, and where the files are."""
    console.print(Text(_scan_line(result)))
    if choice := result.fields["input"]["choice"]:
        console.print(Text(f"Series {choice}"))
    console.print(Text(_model_line(result)))
    console.print(volume_table(result))
    for warning in result.warnings:
        console.print(Text.assemble(("Note: ", "yellow"), warning["message"]))
    for finding in result.quality["findings"]:
        title = finding["severity"].capitalize()
        console.print(Text.assemble((f"{title}: ", "red" if title == "Warning" else "yellow"), finding["message"]))
    folder = RunFolder(result.folder)
    console.print(Text(f"Label map  {folder.labels_path}"))
    console.print(Text(f"Result     {folder.result_path}"))
    console.print(Text(RESEARCH_ONLY, style="italic"))


def volume_table(result: Result) -> Table:
    """One row a subtype and one for all: mL, ABC/2, diameter, side, lesions, slices."""
    fields = result.fields
    table = Table(box=SIMPLE_HEAD, show_footer=True, pad_edge=False)
    table.add_column("Hemorrhage", footer="  All", no_wrap=True)
    table.add_column("Volume\nmL", justify="right", footer=_number(fields["volume_ml"]["total"]))
    table.add_column("ABC/2\nmL", justify="right")
    table.add_column("Diameter\nmm", justify="right")
    table.add_column("Side")
    table.add_column("Lesions", justify="right", footer=str(sum(fields["components"].values())))
    table.add_column("Slices", justify="right", footer=str(_slices_with(result, ANY)))
    for subtype in SUBTYPES:
        name = subtype.name
        red, green, blue = subtype.color_rgb
        found = fields["volume_ml"][name] > 0
        table.add_row(
            Text.assemble(("■ ", f"rgb({red},{green},{blue})"), f"{name} {subtype.title.split()[0].lower()}"),
            _number(fields["volume_ml"][name]),
            _number(fields["abc2_ml"][name]) if found else "",
            _number(fields["largest_diameter_mm"][name]) if found else "",
            fields["side"][name] if found else "",
            str(fields["components"][name]) if found else "",
            str(_slices_with(result, name)) if found else "",
            style="" if found else "dim",
        )
    return table


def _slices_with(result: Result, name: str) -> int:
    return sum(entry["area_mm2"][name] > 0 for entry in result.slices)


def _scan_line(result: Result) -> str:
    scan = result.fields["input"]
    spacing = scan["spacing"]
    thinnest, thickest = spacing["smallest_slice_mm"], spacing["largest_slice_mm"]
    thickness = f"{thickest:.2f}" if thickest - thinnest < 0.01 else f"{thinnest:.2f}-{thickest:.2f}"
    parts = [
        f"{scan['slices']} slices of {scan['rows']}×{scan['columns']}",
        f"pixels {spacing['row_mm']:.3f}×{spacing['column_mm']:.3f} mm",
        f"slices {thickness} mm",
        f"tilt {scan['tilt_deg']:.1f}°",
    ]
    return f"Scan   {', '.join(parts)}"


def _model_line(result: Result) -> str:
    model, settings, timing = result.fields["model"], result.fields["settings"], result.fields["timing_s"]
    computed = f"{settings['device']}, {settings['precision']}, {timing['total']:.1f} s"
    return f"Model  {model['name']} {model['version']} ({computed})"


def _number(value: float) -> str:
    """Three figures at most, one decimal at least: no more than the method can know."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
