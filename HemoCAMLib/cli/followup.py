"""``hemocam followup``: what changed between two scans of a patient."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from HemoCAMLib.cli.result_table import RESEARCH_ONLY
from HemoCAMLib.cli.streams import output, write_json
from HemoCAMLib.followup import Change, RunScan, follow_up, write_followup
from HemoCAMLib.report.facts import signed, volume_text
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run


def follow_up_runs(
    first: Path, second: Path, out: Path, *, sources: tuple[Path | None, Path | None], pdf: bool, as_json: bool
) -> None:
    """Compares two runs, writes the pages and prints what changed.

    Args:
        first: run folder of the earlier scan.
        second: run folder of the later scan.
        out: folder for ``followup.json`` and ``followup.html``.
        sources: where the scans lie now; None where they were.
        pdf: also write a PDF.
        as_json: print the content of ``followup.json`` instead of the table.
    """
    results = [Result.load(folder) for folder in (first, second)]
    runs = [RunScan(result, scan_of_run(result, source)) for result, source in zip(results, sources, strict=True)]
    found = follow_up(runs[0], runs[1])
    files = write_followup(found, out, pdf=pdf)
    if as_json:
        write_json(found.to_dict())
        return
    console = output()
    console.print(change_table(found.change))
    for sentence in found.change.sentences():
        console.print(Text(sentence))
    for note in found.notes:
        console.print(Text.assemble(("Note: ", "yellow"), note))
    for path in files:
        console.print(Text(f"Written  {path}"))
    console.print(Text(RESEARCH_ONLY, style="italic"))


def change_table(change: Change) -> Table:
    """One row a subtype and one for all."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Hemorrhage", no_wrap=True)
    for heading in ("First", "Second", "Change", "%"):
        table.add_column(heading, justify="right")
    for name, entry in change.subtypes.items():
        percent = entry.change_percent
        table.add_row(
            "All" if name == "total" else name,
            volume_text(entry.first_ml),
            volume_text(entry.second_ml),
            f"{signed(entry.change_ml, 2)} mL",
            "new" if entry.is_new else "" if percent is None else signed(percent, 0),
            style="" if entry.first_ml or entry.second_ml else "dim",
        )
    return table
