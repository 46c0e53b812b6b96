"""Datasets by name, with their options as text from a command line or an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from hemocam_training.datasets.bhsd import Bhsd
from hemocam_training.datasets.brain_tumour import BrainTumours
from hemocam_training.datasets.cq500 import Cq500
from hemocam_training.datasets.hemorica import Hemorica
from hemocam_training.datasets.instance import Instance2022
from hemocam_training.datasets.nifti_folder import NiftiFolder
from hemocam_training.datasets.phantom_set import Phantoms
from hemocam_training.datasets.physionet import PhysioNetCtIch
from hemocam_training.datasets.records import Dataset
from hemocam_training.datasets.rsna import Rsna2019
from HemoCAMLib.errors import UsageError

DATASETS: dict[str, type[Dataset]] = {
    dataset.name: dataset
    for dataset in (
        Rsna2019,
        Bhsd,
        Hemorica,
        PhysioNetCtIch,
        Cq500,
        Instance2022,
        BrainTumours,
        NiftiFolder,
        Phantoms,
    )
}


def dataset_named(name: str, options: Mapping[str, str] | None = None) -> Dataset:
    """The dataset of that name.

    Args:
        name: in :data:`DATASETS`.
        options: fields of the dataset's class, as text.

    Raises:
        UsageError: ``USAGE_DATASET``, ``USAGE_DATASET_OPTION``.

    >>> dataset_named("phantoms", {"count": "3"})
    Phantoms(first_seed=1000000, count=3, size=512)
    """
    if name not in DATASETS:
        raise UsageError("USAGE_DATASET", f"There is no dataset “{name}”.", f"Known: {', '.join(DATASETS)}.")
    kind = DATASETS[name]
    known = {field.name: type(getattr(kind, field.name)) for field in fields(kind)}  # type: ignore[arg-type]
    values = {}
    for key, text in (options or {}).items():
        if key not in known:
            there = ", ".join(known) or "none"
            raise UsageError("USAGE_DATASET_OPTION", f"{name} has no option “{key}”.", f"It has: {there}.")
        values[key] = _value(key, text, known[key])
    return kind(**values)


def options_of(dataset: Dataset) -> dict[str, str]:
    """The dataset's options as text; what :func:`dataset_named` takes."""
    return {field.name: str(getattr(dataset, field.name)) for field in fields(dataset)}  # type: ignore[arg-type]


def _value(key: str, text: str, kind: type) -> str | int | float | bool:
    if kind is str:
        return text
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        return int(text) if kind is int else float(text)
    except (ValueError, KeyError) as error:
        raise UsageError(
            "USAGE_DATASET_OPTION", f"“{text}” is no value of {key}.", f"It is a {kind.__name__}."
        ) from error
