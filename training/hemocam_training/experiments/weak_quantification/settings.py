"""Settings of the experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from hemocam_training.experiments.catalogue import STRICT
from hemocam_training.experiments.parts import PhantomCounts
from hemocam_training.learning.config import Count, FitConfig


@dataclass(frozen=True, config=STRICT)
class ModelChoice:
    """One network that is compared.

    Attributes:
        title: in tables.
        settings: what differs from the common training, such as ``network.architecture=densenet121``.
        encoder_of: title of an earlier network whose encoder this one starts from; empty for none.
        method: of its activation maps; ``local-logit`` is Grad-CAM at the input of the LSE pooling.
        layer: of its maps.
    """

    title: str
    settings: tuple[str, ...] = ()
    encoder_of: str = ""
    method: str = "grad-cam"
    layer: str = "[-1]"


@dataclass(frozen=True, config=STRICT)
class Settings:
    """The experiment.

    Attributes:
        fit: training that all networks share.
        models: what is compared, in the order of the tables.
        ablation: titles of a network with the heat-map consistency loss and of one without; empty for none.
        fractions: parts of the dataset that is learned from, by patient: ``train``, ``tune`` for the class thresholds,
            ``test`` for the AUROC.
        mask_fractions: parts of the dataset with masks: ``tune`` for the mask thresholds, ``test`` for the Dice.
        phantoms: where no dataset is given; their masks tune and test too.
        grid: mask thresholds of 255 that are tried.
        workers: processes that cache slices.
        draws: of the bootstrap.
    """

    fit: FitConfig
    models: Annotated[tuple[ModelChoice, ...], Field(min_length=1)]
    ablation: tuple[str, ...] = ()
    fractions: dict[str, float] = Field(default_factory=lambda: {"train": 0.9, "tune": 0.05, "test": 0.05})
    mask_fractions: dict[str, float] = Field(default_factory=lambda: {"tune": 0.3, "test": 0.7})
    phantoms: PhantomCounts = Field(default_factory=PhantomCounts)
    grid: tuple[float, ...] = (25, 50, 75, 100, 125, 150, 175, 200)
    workers: Count = 1
    draws: Annotated[int, Field(ge=100)] = 2000

    def __post_init__(self) -> None:
        titles = [model.title for model in self.models]
        if len(set(titles)) < len(titles):
            raise ValueError("two models share a title")
        if self.ablation and (len(self.ablation) != 2 or not set(self.ablation) <= set(titles)):
            raise ValueError("ablation names two of the models")
        for place, model in enumerate(self.models):
            if model.encoder_of and model.encoder_of not in titles[:place]:
                raise ValueError(f"encoder_of names no model before {model.title}")

    def folder(self, work: Path, title: str) -> Path:
        """Where a network and what it says are kept."""
        return work / f"model-{[model.title for model in self.models].index(title)}"
