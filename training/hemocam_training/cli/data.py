"""What the commands on datasets do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from hemocam_training.datasets import DATASETS, ScanIndex, dataset_named
from hemocam_training.datasets import prepare as prepare_index
from hemocam_training.datasets.registry import options_of
from hemocam_training.errors import LeakFound
from hemocam_training.leak_check import check_leak, without_shared
from hemocam_training.splits import Split, patient_strata, split_by_fractions, split_into_folds, supplied_folds
from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import UsageError

_FINDINGS_SHOWN = 20


def list_datasets(*, as_json: bool) -> None:
    """Name, title, layout, options and terms of every dataset."""
    known = {name: dataset_named(name) for name in DATASETS}
    if as_json:
        write_json(
            [
                {
                    "name": name,
                    "title": one.title,
                    "layout": one.layout,
                    "terms": one.terms,
                    "options": options_of(one),
                }
                for name, one in known.items()
            ]
        )
        return
    for name, one in known.items():
        output().print(Text.assemble((name, "bold"), f"  {one.title}"))
        output().print(Text(f"  in its folder: {one.layout}\n  terms: {one.terms}"))
        for key, value in options_of(one).items():
            output().print(Text(f"  --set {key}={value}", "dim"))


def prepare_dataset(
    name: str, root: Path, out: Path, settings: Sequence[str], processes: int, *, overwrite: bool, as_json: bool
) -> None:
    """Write the index of a dataset, and tell what was found."""
    dataset = dataset_named(name, _pairs(settings))
    _refuse_existing(out, overwrite)
    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("scans", total=None)
        index = prepare_index(
            dataset,
            root,
            processes or os.cpu_count() or 1,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    index.write(out)
    summary = {
        "dataset": name,
        "index": str(out),
        "patients": len(set(index.patient_keys)),
        "scans": len(set(index.scan_keys)),
        "slices": len(index),
        "checksum": index.checksum,
        "findings": [vars(finding) for finding in index.findings],
    }
    if as_json:
        write_json(summary)
        return
    for finding in index.findings[:_FINDINGS_SHOWN]:
        console.print(Text.assemble((f"{finding.file}: " if finding.file else "", "dim"), finding.sentence))
    if len(index.findings) > _FINDINGS_SHOWN:
        console.print(f"… and {len(index.findings) - _FINDINGS_SHOWN} more; --json gives all.")
    output().print(
        f"{summary['slices']} slices of {summary['scans']} scans of {summary['patients']} patients are in {out}."
    )


def make_split(
    paths: Sequence[Path],
    out: Path,
    parts: Sequence[str],
    *,
    folds: int,
    supplied: bool,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a split, and show what is in its parts."""
    if (bool(parts) + bool(folds) + supplied) > 1:
        raise UsageError("USAGE_SPLIT", "--part, --folds and --supplied exclude each other.", "Give one of them.")
    if supplied and len(paths) != 1:
        raise UsageError("USAGE_SPLIT", "Supplied folds are those of one dataset.", "Give one index.")
    fractions = {name: _share(share) for name, share in _pairs(parts).items()}
    _refuse_existing(out, overwrite)
    indexes = [ScanIndex.read(path) for path in paths]
    if supplied:
        made = supplied_folds(indexes[0])
    elif folds:
        made = split_into_folds(indexes, folds, seed)
    else:
        made = split_by_fractions(indexes, fractions or None, seed)
    made.write(out)
    strata = patient_strata(indexes)
    counts = {part: Counter(name for one in patients for name in strata[one]) for part, patients in made.parts.items()}
    if as_json:
        write_json(
            {
                "split": str(out),
                "parts": {part: {"patients": len(made.parts[part]), **counts[part]} for part in made.parts},
            }
        )
        return
    names = sorted({name for found in counts.values() for name in found})
    table = Table("part", "patients", *names)
    for part, patients in made.parts.items():
        table.add_row(part, str(len(patients)), *(str(counts[part][name]) for name in names))
    output().print(table)


def look_for_leak(
    training: Sequence[Path],
    evaluation: Path,
    split: Path | None,
    training_parts: Sequence[str],
    evaluation_parts: Sequence[str],
    clean_training: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Compare indexes; a leak is an error unless a clean training index is asked for."""
    if clean_training is not None:
        if len(training) != 1:
            raise UsageError("USAGE_CLEAN", "One training index can be cleaned at a time.", "Give one --training.")
        _refuse_existing(clean_training, overwrite)
    trained = [ScanIndex.read(path) for path in training]
    asked = ScanIndex.read(evaluation)
    if split is not None:
        parts = Split.read(split)
        trained = [parts.rows(index, *training_parts) for index in trained]
        if asked.checksum in {checksum for _, checksum in parts.indexes}:
            asked = parts.rows(asked, *evaluation_parts)
    report = check_leak(trained, asked)
    if clean_training is not None:
        without_shared(trained[0], report).write(clean_training)
    if as_json:
        write_json(report.as_dict())
        raise typer.Exit(LeakFound.exit_code if report.shared and clean_training is None else 0)
    if clean_training is None:
        report.refuse()
    output().print(report.sentence)
    if report.not_recognisable:
        output().print(f"{report.not_recognisable} evaluation scans show too little to be compared by their images.")


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise UsageError("USAGE_OPTION", f"“{setting}” is not a name and a value.", "Write NAME=VALUE.")
        pairs[name.strip()] = value.strip()
    return pairs


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError("USAGE_SPLIT", f"“{text}” is no share.", "Write train=0.7.") from error


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UsageError("USAGE_FILE_EXISTS", f"{path.name} is there already.", "Name another file, or --overwrite.")
