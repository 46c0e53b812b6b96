"""Settings of the experiment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hemocam_training.experiments.catalogue import STRICT
from hemocam_training.learning.config import Count, FitConfig


@dataclass(frozen=True, config=STRICT)
class NetworkChoice:
    """One network that is compared.

    Attributes:
        title: in tables.
        architecture: a name of :data:`hemocam_training.learning.networks.PAPER_NETWORKS`.
        settings: what differs from the common training, such as ``stages.0.batch=16``.
    """

    title: str
    architecture: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, config=STRICT)
class SyntheticSet:
    """Drawn slices that stand in where no dataset is given; see :mod:`.synthetic_set`."""

    patients: Annotated[int, Field(ge=15)] = 60
    slices_per_patient: Count = 4
    size: Annotated[int, Field(ge=64, le=512)] = 256
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, config=STRICT)
class Settings:
    """The experiment.

    Attributes:
        fit: training that all networks share; its architecture is each network's own.
        networks: what is compared.
        synthetic: used where no dataset is given.
        folds: number of folds; with ``supplied`` those of the dataset are taken as they are.
        fold_source: ``supplied`` (``cvind.mat``) or ``made`` (stratified by kind); both are by patient.
        cached_size: rows and columns at which slices are stored and masks are scored.
        workers: processes that read slices.
        map_network: title of the network whose maps are measured; ``best``: the one with the highest mean accuracy.
        method, layer: of the maps, as :mod:`HemoCAMLib.cam` names them.
        rules: how thresholds are found, as :class:`HemoCAMLib.mask.threshold_rule.ThresholdRule` writes them; over
            the whole map, interpolated to the image.
        size_edges_percent: edges of the strata of tumour size, percent of the image.
        draws: of the bootstrap.
    """

    fit: FitConfig
    networks: Annotated[tuple[NetworkChoice, ...], Field(min_length=1)]
    synthetic: SyntheticSet = Field(default_factory=SyntheticSet)
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    fold_source: Literal["supplied", "made"] = "supplied"
    cached_size: Annotated[int, Field(ge=32, le=512)] = 224
    workers: Count = 2
    map_network: str = "best"
    method: str = "cam"
    layer: str = "[-1]"
    rules: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "mean",
        "median",
        "percentile:75",
        "percentile:90",
        "percentile:95",
        "otsu",
        "adaptive:101",
    )
    size_edges_percent: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = (0.5, 1.0, 2.0, 4.0)
    draws: Annotated[int, Field(ge=10)] = 2000

    def __post_init__(self) -> None:
        titles = [network.title for network in self.networks]
        if len(set(titles)) < len(titles):
            raise ValueError("two networks have the same title")
        if self.map_network != "best" and self.map_network not in titles:
            raise ValueError(f"map_network is best, or one of {', '.join(titles)}")
        if sorted(set(self.size_edges_percent)) != list(self.size_edges_percent):
            raise ValueError("size_edges_percent must rise")
