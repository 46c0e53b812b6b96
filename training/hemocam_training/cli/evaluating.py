"""What ``hemocam-train evaluate`` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import Progress
from rich.table import Table

from hemocam_training import evaluation
from hemocam_training.bundle_export.export import describe_again, with_evaluation
from hemocam_training.cli.sources import SourceOptions, one_source
from hemocam_training.evaluation.collect import collect
from hemocam_training.evaluation.mask_counts import Way, changed
from hemocam_training.evaluation.page import write_evaluation
from hemocam_training.held_out import refuse_seen, rows_seen
from hemocam_training.mapped_scans import MapStore
from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import UsageError
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.model import ModelBundle

#: Variants that come with the package.
VARIANTS = Path(evaluation.__file__).parent / "variants"

GATED, TRUE_LABELS, BASELINE = "classifier gates", "true labels", "HU > 46 alone"


def evaluate_bundle(
    model: Path,
    out: Path,
    scans: SourceOptions,
    training: Sequence[Path],
    training_parts: Sequence[str],
    variants: Path | None,
    *,
    store: Path | None,
    threads: int,
    draws: int,
    baseline: bool,
    unchecked: bool,
    into_card: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Evaluate, write the report, and where asked put the figures into the bundle and its card."""
    bundle = ModelBundle.open(model)
    bundle.verify()
    if (out / "evaluation.json").exists() and not overwrite:
        raise UsageError("USAGE_FILE_EXISTS", f"{out.name} holds an evaluation.", "Name another, or --overwrite.")
    if into_card and not bundle.path.is_dir():
        raise UsageError("USAGE_MODEL_ZIP", "A zipped model cannot be changed.", "Unpack it and give its folder.")
    source = one_source(scans, noise=True)
    seen = rows_seen(training, scans.split, training_parts)
    told = refuse_seen(bundle.metadata.training_data, source, seen, "test", unchecked=unchecked)
    ways = mask_ways(MaskSettings.from_metadata(bundle.metadata.hemocam_fields()), variants, baseline=baseline)
    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("scans", total=None)
        found = collect(
            MapStore(bundle, store, threads=threads),
            source,
            ways,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
        progress.update(task, description="intervals")
        result = write_evaluation(found, bundle, source.describe(), told, out, draws)
    if into_card:
        describe_again(bundle, with_evaluation(bundle.metadata, result["card"]))
    if as_json:
        write_json(result)
        return
    _print(result)
    output().print(f"{result['data']['what']} {told} Report: {out / 'index.html'}")


def mask_ways(recommended: MaskSettings, variants: Path | None, *, baseline: bool) -> list[Way]:
    """The bundle's own masks with classifier gates and with true labels, then what is compared with them.

    Args:
        recommended: of the bundle.
        variants: JSON file, or the name of one that comes with the package: by name a refinement, or a table of mask
            settings to change, in which ``"true labels": true`` calls a subtype exactly where it is.
        baseline: whether the threshold on HU alone is measured.

    Raises:
        UsageError: ``USAGE_VARIANTS``, ``USAGE_MASK_SETTINGS``.
    """
    ways = [Way(GATED, recommended), Way(TRUE_LABELS, recommended, true_gates=True)]
    if recommended.refinement is not None:
        ways.append(Way("classifier gates, map alone", replace(recommended, refinement=None)))
    for name, change in _read_variants(variants).items():
        true_gates = isinstance(change, dict) and change.pop(TRUE_LABELS, False) is True
        ways.append(Way(name, changed(recommended, change), true_gates))
    if baseline:
        ways.append(Way(BASELINE, None))
    names = [way.name for way in ways]
    if len(set(names)) < len(names):
        raise UsageError("USAGE_VARIANTS", "Two ways to make masks have the same name.", "Rename the variant.")
    return ways


def _read_variants(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    if not path.suffix and len(path.parts) == 1 and not path.exists():
        path = VARIANTS / f"{path.name}.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError("USAGE_VARIANTS", f"{path.name} cannot be read.", "Give a JSON file.") from error
    if not isinstance(values, dict):
        raise UsageError("USAGE_VARIANTS", f"{path.name} is no table.", "Give names and refinements.")
    return {str(name): change for name, change in values.items()}


def _print(result: Mapping[str, Any]) -> None:
    table = Table("", "AUROC", "sensitivity", "specificity")
    for row in result["classification"]:
        cells = [_cell(row[key]) for key in ("auroc", "sensitivity", "specificity")]
        table.add_row(row["class"], *cells)
    output().print(table)
    for way, rows in result["masks"].items():
        heads = ("Dice pooled", "of slices", "of scans", "IoU pooled", "|error| mL", "bias mL", "false mL")
        table = Table(way, *heads)
        keys = (
            *("dice_pooled", "dice_mean_slice", "dice_mean_scan", "iou_pooled"),
            *("volume_error_ml", "bias_ml", "false_ml"),
        )
        for row in rows:
            table.add_row(row["class"], *(_cell(row[key]) for key in keys))
        output().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value["value"]
    return "–" if value is None else f"{value:.3f}"
