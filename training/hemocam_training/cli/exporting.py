"""What ``hemocam-train export`` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from hemocam_training.bundle_export.checkpoint import Checkpoint, read_checkpoint
from hemocam_training.bundle_export.description import Description, read_description
from hemocam_training.bundle_export.export import export_bundle, known_range
from hemocam_training.bundle_export.training_range import measured, training_range
from hemocam_training.bundle_tuning.outcome import Tuning
from hemocam_training.cli.sources import SourceOptions, dataset_part
from hemocam_training.errors import DataRefused
from hemocam_training.scan_sources import PhantomSource, ScanSource
from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import UsageError


def export_model(
    runs: Sequence[Path],
    out: Path,
    describe: Path,
    tuning: Path | None,
    evaluations: Sequence[Path],
    version: str,
    range_scans: int,
    scans: SourceOptions,
    *,
    best: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a bundle.

    Args:
        range_scans: training scans to measure for the comparison with a scan at hand; -1 takes the range of the bundle
            that is replaced, or measures 60 where there is none; 0 leaves it out.
        scans: to measure; phantoms of the description where no index is given.
    """
    if out.exists() and not overwrite:
        raise UsageError("USAGE_FILE_EXISTS", f"{out.name} is there already.", "Name another one, or --overwrite.")
    described = read_description(describe)
    described = replace(described, version=version) if version else described
    checkpoint = read_checkpoint(runs, described, best=best)
    bundle, checked = export_bundle(
        out,
        checkpoint,
        described,
        tuning=Tuning.read(tuning) if tuning else None,
        evaluations=[_read_evaluation(path) for path in evaluations],
        training_range=_range(out, described, checkpoint, range_scans, scans),
    )
    metadata = bundle.metadata
    if as_json:
        write_json({"bundle": str(out), "self_check": checked.as_dict(), "hemocam": metadata.hemocam_fields()})
        return
    told = ", ".join(f"{name} {value:.2g}" for name, value in checked.as_dict().items() if name in _SHOWN)
    output().print(f"{metadata.name} {metadata.version} is in {out}; largest differences from its checkpoint: {told}.")
    if tuning is None:
        output().print(f"Its thresholds are not tuned yet: hemocam-train tune {out} …, then export with --tuning.")


_SHOWN = ("logits", "maps", "probabilities")


def _range(
    out: Path, described: Description, checkpoint: Checkpoint, count: int, scans: SourceOptions
) -> Mapping[str, tuple[float, float]]:
    if count < 0:
        there = known_range(out)
        if there:
            return there
        count = 60
    source = _to_measure(described, checkpoint, scans) if count else None
    if source is None:
        return {}
    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        statistics = progress.track(measured(source, count), total=count, description="training scans measured")
        return training_range(statistics)


def _to_measure(described: Description, checkpoint: Checkpoint, scans: SourceOptions) -> ScanSource | None:
    if scans.index is not None:
        return dataset_part(scans.index, scans.root, scans.split, scans.parts)
    for entry in described.training_data:
        if "first_seed" in entry and entry.get("use", "training") == "training":
            count = int(checkpoint.scans or entry["scans"])
            return PhantomSource(int(entry["first_seed"]), count, templates=scans.templates)
    return None


def _read_evaluation(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return dict(values["card"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataRefused(
            "TRAIN_EVALUATION", f"{path.name} is not an evaluation.", "Write one with hemocam-train evaluate."
        ) from error
