"""Volumes of a model's masks against the truth: error by subtype, agreement, ABC/2, the 30 mL decision, strata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hemocam_training.datasets import ScanIndex
from hemocam_training.errors import DataRefused
from hemocam_training.evaluation.mask_counts import Way, labels_by
from hemocam_training.experiments.catalogue import STRICT, DataSource, Progress
from hemocam_training.experiments.reporting import Report, Section
from hemocam_training.experiments.truth_scans import outlined_scans, phantoms, with_masks
from hemocam_training.experiments.volumes import figures, tables
from hemocam_training.experiments.volumes.measure import ScanVolumes, scan_volumes
from hemocam_training.experiments.volumes.strata import strata
from hemocam_training.leak_check import check_leak
from hemocam_training.learning.config_file import config_values
from hemocam_training.mapped_scans import MapStore
from hemocam_training.scan_sources import IndexSource, LabelledScan, ScanSource
from hemocam_training.seeds import TEST_SEED, refuse_seen_seeds
from HemoCAMLib.mask.settings import MaskSettings
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.shipped import find_model
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

#: ABC/2 was made for lesions that one ellipsoid is like, so blood in ventricles and sulci is left out beside it.
ABC2_STRUCTURES = (ANY, "IPH", "SDH", "EDH")
DECISION_STRUCTURES = (ANY, "IPH", "EDH")

#: Where no number is asked for.
PHANTOMS = 100

QUESTION = (
    "How far are the millilitres of the model's masks from the truth, by subtype; do they lead to the same decision; "
    "how does ABC/2 compare; and what do gantry tilt, slice thickness and uneven steps do to them?"
)
LIMITS = (
    "The limits of agreement take differences for normal and of one size; volumes often differ more where they are "
    "larger, which the plots show.",
    "ICC and concordance depend on the spread of true volumes, so they do not carry over to a cohort of other volumes.",
    "A scan without the structure counts for the decision and for mL where there should be none, not for the error.",
)
SOURCES = (
    "Bland and Altman, Lancet 1986; Stat Methods Med Res 1999.",
    "Shrout and Fleiss, Psychol Bull 1979, ICC(2,1).",
    "Lin, Biometrics 1989.",
    "Kothari et al., Stroke 1996 (ABC/2).",
    "Cohen, Educ Psychol Meas 1960 (kappa); Wilson, J Am Stat Assoc 1927.",
    "Efron, Ann Stat 1979 (bootstrap; patients are drawn, percentile intervals).",
)


@dataclass(frozen=True, config=STRICT)
class Settings:
    """What is measured.

    Attributes:
        model: bundle, by name or path; the one that ships where empty.
        scans: at most so many; 0 for all of a dataset, or for 100 phantoms.
        first_seed: of the phantoms, where there is no dataset.
        size: rows and columns of the phantoms, a divisor of 512.
        trained_on: indexes of what the model was trained on; the evaluation is refused where it shares a study.
        decision_ml: the volume that decides.
        tilt_edges_deg, extent_edges_mm: where strata begin.
        draws: of the bootstrap.
    """

    model: str = ""
    scans: Annotated[int, Field(ge=0)] = 0
    first_seed: Annotated[int, Field(ge=0)] = TEST_SEED
    size: int = 512
    trained_on: tuple[Path, ...] = ()
    decision_ml: Annotated[float, Field(gt=0)] = 30.0
    tilt_edges_deg: tuple[float, ...] = (1.0, 15.0)
    extent_edges_mm: tuple[float, ...] = (3.5,)
    draws: Annotated[int, Field(ge=100)] = 2000


def run(settings: Settings, sources: Sequence[DataSource], work: Path, *, quick: bool, progress: Progress) -> Report:
    """The experiment; see :class:`~hemocam_training.experiments.catalogue.ExperimentModule`.

    Raises:
        DataRefused: ``DATA_NO_MASKS``: no scan has a mask and true positions.
        LeakFound: ``TRAIN_LEAK``.
        HemoCAMError: the bundle cannot be used.
    """
    sources = [with_masks(source, "subtypes", "any") for source in sources]
    bundle = find_model(settings.model or None)
    _refuse_leaks(settings, sources, bundle)
    measured: list[ScanVolumes] = []
    network_labels = _labeller(bundle)
    for number, scan in enumerate(_scans(settings, sources, progress), start=1):
        measured += scan_volumes(number, scan, network_labels(scan))
        progress(f"{number} scans measured")
    if not measured:
        raise DataRefused(
            "DATA_NO_MASKS",
            "None of these scans has an outline of hemorrhage and true slice positions.",
            "Give a dataset with masks, such as bhsd, or none for phantoms.",
        )
    return _report(settings, sources, bundle, measured, quick=quick)


def _refuse_leaks(settings: Settings, sources: Sequence[DataSource], bundle: ModelBundle) -> None:
    if not sources:
        count = settings.scans or PHANTOMS
        refuse_seen_seeds(bundle.metadata.training_data, range(settings.first_seed, settings.first_seed + count))
    trained = [ScanIndex.read(path) for path in settings.trained_on]
    for source in sources if trained else ():
        check_leak(trained, source.index).refuse()


def _scans(settings: Settings, sources: Sequence[DataSource], told: Progress) -> Iterator[LabelledScan]:
    read: list[ScanSource] = [IndexSource(one.index, one.root) for one in sources]
    read = read or [phantoms(settings.first_seed, settings.scans or PHANTOMS, settings.size)]
    found = (scan for source in read for scan in outlined_scans(source, told))
    return islice(found, settings.scans or None)


def _labeller(bundle: ModelBundle) -> Callable[[LabelledScan], NDArray[np.uint8]]:
    """Label maps of scans by a bundle, as an analysis with its recommended settings makes them."""
    store, metadata = MapStore(bundle), bundle.metadata
    recommended = Way("recommended", MaskSettings.from_metadata(metadata.hemocam_fields()))
    return lambda scan: np.stack(labels_by(store.mapped(scan), recommended, metadata.calibration))


def _report(
    settings: Settings, sources: Sequence[DataSource], bundle: ModelBundle, rows: list[ScanVolumes], *, quick: bool
) -> Report:
    by_structure = {name: [row for row in rows if row.structure == name] for name in (ANY, *SUBTYPE_NAMES)}
    by_structure = {name: each for name, each in by_structure.items() if each}
    any_rows = by_structure[ANY]
    draws = settings.draws
    by_stratum = strata(any_rows, settings.tilt_edges_deg, settings.extent_edges_mm)
    beside = {name: each for name, each in by_structure.items() if name in ABC2_STRUCTURES}
    decided = {name: each for name, each in by_structure.items() if name in DECISION_STRUCTURES}
    subtypes = len(by_structure) > 1
    return Report(
        title="Volumes: agreement with the truth in millilitres",
        question=QUESTION,
        data=_data_lines(settings, sources, bundle, any_rows),
        sections=(
            Section(
                "Error by subtype",
                tables=(tables.error_table(by_structure, draws), tables.coefficient_table(by_structure, draws)),
                figures=(
                    figures.bland_altman_figure(by_structure, "mask_ml", draws),
                    figures.scatter_figure(by_structure),
                ),
            ),
            Section(
                "ABC/2 beside it",
                tables=(tables.method_table(beside, draws),),
                figures=(figures.bland_altman_figure(beside, "truth_abc2_ml", draws),),
            ),
            Section("Decision by volume", tables=(tables.decision_table(decided, settings.decision_ml, draws),)),
            Section(
                "Tilt, thickness and spacing",
                tables=(tables.stratum_table(by_stratum, draws),),
                figures=(figures.geometry_figure(any_rows),),
            ),
            Section("Every scan", tables=(tables.scan_table(rows), *([tables.long_table(rows)] if subtypes else []))),
        ),
        limits=LIMITS,
        settings=config_values(settings),
        quick=quick,
        sources=SOURCES,
    )


def _data_lines(
    settings: Settings, sources: Sequence[DataSource], bundle: ModelBundle, rows: Sequence[ScanVolumes]
) -> list[str]:
    bleeding = sum(row.truth_ml > 0 for row in rows)
    patients = len({row.patient for row in rows})
    if sources:
        origin = ", ".join(source.name for source in sources)
    else:
        origin = f"phantoms of {settings.size} × {settings.size} from seed {settings.first_seed} on"
    metadata = bundle.metadata
    checked = (
        f"None of the scans is among the {len(settings.trained_on)} indexes that the model was trained on."
        if settings.trained_on
        else "Which scans the model was trained on was not given (trained_on), so nothing was compared with them."
    )
    lines = [
        f"{len(rows)} scans of {patients} patients from {origin}; {bleeding} bleed.",
        f"Model {metadata.name} {metadata.version}, masks with the settings its bundle recommends.",
    ]
    return [*lines, checked] if sources else lines
