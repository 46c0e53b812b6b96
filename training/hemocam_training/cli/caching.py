"""What ``hemocam-train cache`` and ``hemocam-train anatomies`` do."""

from __future__ import annotations

import os
from pathlib import Path

from rich.progress import Progress

from hemocam_training.cli.sources import SourceOptions, one_source, phantom_range
from hemocam_training.painting.anatomies import write_anatomies
from hemocam_training.shards.writing import verify_shards, write_shards
from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import UsageError

_FINDINGS_SHOWN = 20


def cache_slices(
    out: Path,
    scans: SourceOptions,
    *,
    noise: bool,
    size: int,
    workers: int,
    verify: bool,
    as_json: bool,
) -> None:
    """Write what is missing of a cache, or check what is there."""
    if verify and not scans.phantoms and scans.index is None:
        count = verify_shards(out)
        if as_json:
            write_json({"folder": str(out), "shards": count, "intact": True})
        else:
            output().print(f"{count} shards are intact.")
        return
    source = one_source(scans, noise=noise)
    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("scans", total=None)
        records = write_shards(
            source,
            out,
            size=size,
            workers=workers or os.cpu_count() or 1,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if verify:
        verify_shards(out)
    findings = [finding for record in records for finding in record.findings]
    summary = {
        "folder": str(out),
        "shards": len(records),
        "scans": sum(len(record.scans) for record in records),
        "slices": sum(record.slices for record in records),
        "mask_kinds": sorted({kind for record in records for kind in record.mask_kinds}),
        "bytes": sum((out / name).stat().st_size for record in records for name in record.files),
        "findings": [vars(finding) for finding in findings],
    }
    if as_json:
        write_json(summary)
        return
    for finding in findings[:_FINDINGS_SHOWN]:
        console.print(finding.sentence)
    if len(findings) > _FINDINGS_SHOWN:
        console.print(f"… and {len(findings) - _FINDINGS_SHOWN} more; --json gives all.")
    output().print(f"{summary['slices']} slices of {summary['scans']} scans are cached in {out}.")


def draw_anatomies(
    out: Path, phantoms: str, templates: Path | None, *, bleeding: bool, size: int, workers: int
) -> None:
    """Draw what is missing of a folder of heads."""
    if 512 % size:
        raise UsageError("USAGE_SHARDS_SIZE", f"{size} does not divide 512.", "Give 128, 256 or 512.")
    first, count = phantom_range(phantoms)
    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("heads", total=count)
        write_anatomies(
            out,
            first,
            count,
            size=size,
            bleeding=bleeding,
            templates=templates,
            workers=workers or os.cpu_count() or 1,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    output().print(f"{count} heads in {out}.")
