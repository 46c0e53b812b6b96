"""What ``hemocam-train tune`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.table import Table

from hemocam_training.bundle_export.export import describe_again, with_tuning
from hemocam_training.bundle_tuning import TuneOptions, Tuning, tune
from hemocam_training.bundle_tuning.sources import negative_scan
from hemocam_training.cli.sources import SourceOptions, one_source
from hemocam_training.held_out import refuse_seen, rows_seen
from hemocam_training.mapped_scans import MapStore
from hemocam_training.phantoms.plan import MIXTURES
from hemocam_training.scan_sources import IndexSource, PhantomSource
from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model import ModelBundle


def tune_bundle(
    bundle: Path,
    out: Path,
    scans: SourceOptions,
    training: Sequence[Path],
    training_parts: Sequence[str],
    options: TuneOptions,
    negatives: Sequence[Path],
    *,
    store: Path | None,
    threads: int,
    unchecked: bool,
    overwrite: bool,
    apply: bool,
    as_json: bool,
) -> None:
    """Tune, write the outcome, and where asked put it into the bundle."""
    opened = ModelBundle.open(bundle)
    opened.verify()
    if out.exists() and not overwrite:
        raise UsageError("USAGE_FILE_EXISTS", f"{out.name} is there already.", "Name another file, or --overwrite.")
    if apply and not opened.path.is_dir():
        raise UsageError("USAGE_MODEL_ZIP", "A zipped model cannot be changed.", "Unpack it and give its folder.")
    source = tuning_source(scans, training, training_parts)
    seen = rows_seen(training, scans.split, training_parts)
    told = refuse_seen(learned_from(opened), source, seen, "tuning", unchecked=unchecked)
    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("tuning", total=None)
        found = tune(
            MapStore(opened, store, threads=threads),
            source,
            told,
            options,
            lambda sentence: progress.update(task, description=sentence),
            negatives=[negative_scan(path) for path in negatives],
        )
    found.write(out)
    if apply:
        describe_again(opened, with_tuning(found.applied(opened.metadata), found))
    if as_json:
        write_json(found.as_dict())
        return
    _print(found)
    output().print(
        f"Written to {out}" + (f", and into {bundle}." if apply else "; hemocam-train export --tuning takes it.")
    )


def tuning_source(
    scans: SourceOptions, training: Sequence[Path], training_parts: Sequence[str]
) -> PhantomSource | IndexSource:
    """The scans to tune on: phantoms with every mixture of subtypes equally often, or a part that is for tuning.

    Raises:
        UsageError: ``USAGE_TUNING_PART``: a dataset without a split, and without the index that was learned from.
    """
    if scans.index is not None and scans.split is None and not training:
        raise UsageError(
            "USAGE_TUNING_PART",
            "Settings are tuned on scans that are for tuning only.",
            "Give --split and --part tune, or with --training the index that the model learned from.",
        )
    both = sorted(set(training_parts) & set(scans.parts))
    if both:
        raise UsageError(
            "USAGE_TUNING_PART", f"The part {both[0]} is what the model learned from.", "Give --part tune."
        )
    source = one_source(scans, noise=True)
    if isinstance(source, PhantomSource):
        return replace(source, mixtures=tuple(subtypes for _, subtypes in MIXTURES))
    return source


def learned_from(bundle: ModelBundle) -> list[Any]:
    """Data of a bundle without that of an earlier tuning, which a new one replaces."""
    return [entry for entry in bundle.metadata.training_data if entry.get("use") != "tuning"]


def _print(found: Tuning) -> None:
    rows = found.figures["classification"]
    table = Table("class", "threshold", "AUROC", "sensitivity", "specificity", "calibration error", "mask threshold")
    masks = found.mask_thresholds[found.mask_scale]
    for name, row in rows.items():
        table.add_row(
            name,
            f"{found.class_thresholds.get(name, 1.0):.4f}",
            f"{row['auroc']:.3f}",
            f"{row['sensitivity']:.3f}",
            f"{row['specificity']:.3f}",
            f"{row['uncalibrated']['expected_error']:.3f} → {row['calibrated']['expected_error']:.3f}",
            f"{masks[name]:g}" if name in masks else "",
        )
    output().print(table)
    refinement = "none" if found.refinement is None else str(found.refinement["name"])
    output().print(f"refinement: {refinement}; smallest lesion: {found.minimum_volume_ml:g} mL; {found.leak_check}")
