"""Settings of the experiment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hemocam_training.experiments.cam_benchmark.compare import METHODS, Comparison
from hemocam_training.experiments.catalogue import STRICT
from hemocam_training.experiments.parts import PhantomCounts
from hemocam_training.learning.config import Count, FitConfig
from HemoCAMLib.cam import method_names

Part = Literal["train", "tune", "test"]
_FRACTIONS: dict[Part, float] = {"train": 0.7, "tune": 0.15, "test": 0.15}


@dataclass(frozen=True, config=STRICT)
class Variant:
    """One classifier that is compared.

    Attributes:
        title: in tables.
        factor: what is varied, such as ``input size``; variants of a factor stand together.
        settings: what differs from the common training, such as ``stages.0.input_size=384``.
    """

    title: str
    factor: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, config=STRICT)
class MapSettings:
    """Which maps are compared; see :class:`.compare.Comparison`.

    Attributes:
        methods, layers, rules, slow, slow_step: see there.
        given_thresholds: of 255, beside the one that is chosen on tuning slices.
        figure_methods: methods of the overlay figure, a row each.
    """

    methods: tuple[str, ...] = METHODS
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = ("[-1]", "[-2]", "[-3]")
    rules: tuple[str, ...] = ("fixed", "mean@brain", "percentile:90@brain", "percentile:95@brain", "otsu@brain")
    given_thresholds: tuple[Annotated[int, Field(ge=0, le=254)], ...] = (25, 50, 75, 100, 125, 150, 175, 200)
    slow: tuple[str, ...] = ("score-cam", "ablation-cam", "score-cam-fast")
    slow_step: Count = 5
    figure_methods: tuple[str, ...] = ("hires-cam",)

    def __post_init__(self) -> None:
        unknown = [name for name in (*self.methods, *self.figure_methods) if name not in method_names()]
        if unknown:
            raise ValueError(f"there is no map method {unknown[0]}; there are {', '.join(method_names())}")
        missing = [name for name in self.figure_methods if name not in self.methods]
        if missing:
            raise ValueError(f"{missing[0]} is not among the methods that are compared")

    def comparison(self, draws: int) -> Comparison:
        """The same for :func:`.compare.compare`."""
        given = tuple(f"fixed:{threshold}" for threshold in self.given_thresholds)
        rules = tuple(dict.fromkeys(("fixed", *self.rules, *given)))
        return Comparison(self.methods, self.layers, rules, frozenset(self.slow), self.slow_step, draws=draws)


@dataclass(frozen=True, config=STRICT)
class Settings:
    """The experiment.

    Attributes:
        fit: training that all variants share.
        variants: classifiers to compare.
        phantoms: used where no dataset is given.
        fractions: shares of the patients to learn from, to choose epochs and thresholds on, and to score.
        classes: ``any``: hemorrhage or none, as in the paper; ``subtypes``: that and the five subtypes.
        best_epochs: over so many epochs with the highest F1 its mean and deviation are taken.
        curve_thresholds: ends of the precision-recall curve.
        map_variant: title of the variant whose maps are compared; ``best``: the one with the highest mean F1.
        slices_per_scan: bleeding slices of a scan that maps are scored on, drawn by chance.
        maps: which maps.
        workers: processes that read scans.
        draws: of the bootstrap.
    """

    fit: FitConfig
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    phantoms: PhantomCounts = Field(default_factory=PhantomCounts)
    fractions: dict[Part, float] = Field(default_factory=lambda: dict(_FRACTIONS))
    classes: Literal["any", "subtypes"] = "any"
    best_epochs: Count = 5
    curve_thresholds: tuple[float, float] = (0.3, 0.7)
    map_variant: str = "best"
    slices_per_scan: Count = 3
    maps: MapSettings = Field(default_factory=MapSettings)
    workers: Count = 2
    draws: Annotated[int, Field(ge=10)] = 2000

    def __post_init__(self) -> None:
        titles = [variant.title for variant in self.variants]
        if len(set(titles)) < len(titles):
            raise ValueError("two variants have the same title")
        if self.map_variant != "best" and self.map_variant not in titles:
            raise ValueError(f"map_variant is best, or one of {', '.join(titles)}")
        if not 0 < self.curve_thresholds[0] < self.curve_thresholds[1] < 1:
            raise ValueError("curve_thresholds are a lower and a higher probability")
