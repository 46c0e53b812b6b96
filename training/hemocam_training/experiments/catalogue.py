"""The experiments by name, and how one is run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import ConfigDict

from hemocam_training.datasets import ScanIndex
from hemocam_training.experiments.reporting import Report, write_report
from hemocam_training.learning.config_file import read_settings
from HemoCAMLib.errors import UsageError

Progress = Callable[[str], None]

#: Of every dataclass of settings: ``@dataclass(frozen=True, config=STRICT)`` with pydantic's dataclass.
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, eq=False)
class DataSource:
    """A prepared dataset.

    Attributes:
        index: written by ``hemocam-train prepare``.
        root: folder of the dataset's files.
    """

    index: ScanIndex
    root: Path

    @property
    def name(self) -> str:
        return self.index.dataset_name


class ExperimentModule(Protocol):
    """What the module of an experiment has.

    Attributes:
        Settings: a frozen dataclass of pydantic that forbids unknown keys (:data:`STRICT`).
    """

    Settings: type[Any]

    def run(
        self, settings: Any, sources: Sequence[DataSource], work: Path, *, quick: bool, progress: Progress
    ) -> Report:
        """The experiment.

        Args:
            settings: of the module's own type.
            sources: datasets; none means phantoms.
            work: folder for shards and fitted networks; what is complete there is used again.
            quick: mark the report as one whose numbers mean nothing.
            progress: told what is done, a sentence at a time.
        """


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        name: on the command line; also that of its configurations, ``configs/NAME.yaml`` and ``NAME-quick.yaml``.
        title: in a list.
        module: below this package.
    """

    name: str
    title: str
    module: str

    def load(self) -> ExperimentModule:
        return cast(ExperimentModule, importlib.import_module(f"{__package__}.{self.module}"))

    def configuration(self, *, quick: bool) -> Path:
        """The configuration that comes with the package."""
        name = f"{self.name}-quick.yaml" if quick else f"{self.name}.yaml"
        return Path(str(files(__package__) / "configs" / name))


EXPERIMENTS = {
    one.name: one
    for one in (
        Experiment("cam-benchmark", "CAM methods × layers × thresholds on Hemorica", "cam_benchmark.experiment"),
        Experiment("cam-versus-mask", "CAM masks against brain-tumour masks, five-fold", "cam_versus_mask"),
        Experiment("segmentation-explained", "Seg-Grad-CAM against Seg-HiRes-Grad-CAM", "segmentation_explained"),
        Experiment("weak-quantification", "Weakly supervised quantification, RSNA to BHSD", "weak_quantification"),
        Experiment("volumes", "Millilitres by subtype, agreement, ABC/2", "volumes"),
    )
}


def experiment_named(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        UsageError: ``USAGE_EXPERIMENT``.
    """
    if name not in EXPERIMENTS:
        near = get_close_matches(name, EXPERIMENTS, 1)
        raise UsageError(
            "USAGE_EXPERIMENT",
            f"There is no experiment “{name}”.",
            f"Did you mean {near[0]}?" if near else f"There are {', '.join(EXPERIMENTS)}.",
        )
    return EXPERIMENTS[name]


def run_experiment(
    name: str,
    out: Path,
    *,
    config: Path | None = None,
    quick: bool = False,
    sources: Sequence[DataSource] = (),
    progress: Progress = lambda _: None,
) -> Path:
    """Runs an experiment and writes its tables, figures and page.

    Args:
        name: of the experiment.
        out: folder; shards and fitted networks go to ``out/work``.
        config: YAML file; the configuration that comes with the package where None.
        quick: take the quick configuration, and mark the page as one whose numbers mean nothing.
        sources: prepared datasets; phantoms where none is given.
        progress: told what is done.

    Returns:
        The page.

    Raises:
        UsageError: ``USAGE_EXPERIMENT``, ``USAGE_CANNOT_WRITE``.
        ConfigRefused: ``TRAIN_CONFIG_*``.
    """
    experiment = experiment_named(name)
    module = experiment.load()
    settings = read_settings(config or experiment.configuration(quick=quick), module.Settings)
    report = module.run(settings, sources, out / "work", quick=quick, progress=progress)
    return write_report(report, out)
