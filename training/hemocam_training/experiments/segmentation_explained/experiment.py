"""A U-Net trained on masks, explained by Seg-Grad-CAM and Seg-HiRes-Grad-CAM at several layers, compared in numbers.

The paper that brought Seg-HiRes-Grad-CAM shows pictures and leaves a quantitative comparison open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from hemocam_training.errors import DataRefused
from hemocam_training.experiments.catalogue import STRICT, DataSource, Progress
from hemocam_training.experiments.fitted import fitted_network
from hemocam_training.experiments.parts import PhantomCounts, dataset_parts, phantom_parts
from hemocam_training.experiments.reporting import Report, Section
from hemocam_training.experiments.segmentation_explained import figures, tables
from hemocam_training.experiments.segmentation_explained.explain import SHARES, Choice, Explained, explain, truth_of
from hemocam_training.experiments.truth_scans import with_masks
from hemocam_training.learning.augmentation import windowed
from hemocam_training.learning.config import FitConfig
from hemocam_training.learning.config_file import config_values
from hemocam_training.learning.slices import MaskedSlices
from hemocam_training.shards import SliceShards
from HemoCAMLib.subtypes import ANY, SUBTYPES

QUESTION = (
    "A U-Net that was trained on masks gives a class to every pixel. Which of Seg-Grad-CAM and Seg-HiRes-Grad-CAM "
    "shows better, and at which layer, what made it do so?"
)
LIMITS = (
    "Energy and pointing reward a map for lying on the lesion; a network may look at its surroundings with good "
    "reason. Deletion and insertion ask the network itself.",
    "Deleted pixels are set to the head's median and inserted ones laid on a blurred slice: images that the network "
    "never saw. Other fillings give other areas.",
    "A map of a coarse layer cannot be sharp; what a layer scores is the layer's and the method's together. The paired "
    "differences are the method's alone.",
)
SOURCES = (
    "Vinogradova et al., Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation Mapping, "
    "AAAI 2020, equation 1.",
    "Rheude et al., Leveraging CAM Algorithms for Explaining Medical Semantic Segmentation, 2024, equation 4.",
    "Wang et al., Score-CAM, CVPR Workshops 2020, section 4.4 (energy-based pointing game).",
    "Zhang et al., Top-down Neural Attention by Excitation Backprop, IJCV 2018 (pointing game).",
    "Petsiuk et al., RISE, BMVC 2018, section 4.3 (deletion and insertion).",
)


@dataclass(frozen=True, config=STRICT)
class ExplainSettings:
    """Which maps are made.

    Attributes:
        layers: presets or module names; those that the network offers where empty.
        per_scan: at most so many slices of a scan and class.
        least_area_mm2: of the truth and of what is explained.
        of_truth: explain the true pixels instead of those that the network gives to the class.
        tolerance_mm: of the pointing game.
    """

    layers: tuple[str, ...] = ()
    per_scan: Annotated[int, Field(ge=1)] = 4
    least_area_mm2: Annotated[float, Field(ge=0)] = 50.0
    of_truth: bool = False
    tolerance_mm: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, config=STRICT)
class Settings:
    """What is trained, explained and compared.

    Attributes:
        fit: training of the segmentation network; its data are the parts below. With two classes it learns any
            hemorrhage, with six the subtypes.
        explain: which maps.
        phantoms: where no dataset is given.
        fractions: of a dataset's patients.
        workers: processes that cache slices.
        draws: of the bootstrap.
    """

    fit: FitConfig
    explain: ExplainSettings = Field(default_factory=ExplainSettings)
    phantoms: PhantomCounts = Field(default_factory=PhantomCounts)
    fractions: dict[str, float] = Field(default_factory=lambda: {"train": 0.6, "tune": 0.1, "test": 0.3})
    workers: Annotated[int, Field(ge=1)] = 1
    draws: Annotated[int, Field(ge=100)] = 2000


class AnyHemorrhage:
    """Slices whose masks tell any hemorrhage, for a network of two classes."""

    def __init__(self, slices: MaskedSlices) -> None:
        self._slices = slices
        self.target, self.known = slices.target, slices.known

    def __len__(self) -> int:
        return len(self._slices)

    def stacks_hu(self, indices: NDArray[np.int64], repeated: NDArray[np.bool_]) -> Tensor:
        """[N, 3, H, W] HU."""
        return self._slices.stacks_hu(indices, repeated)

    def balanced_indices(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """As those of the slices."""
        return self._slices.balanced_indices(rng, count)

    def masks(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """[N, H, W] 1 where anything bleeds."""
        return np.minimum(self._slices.masks(indices), 1)


def run(settings: Settings, sources: Sequence[DataSource], work: Path, *, quick: bool, progress: Progress) -> Report:
    """The experiment; see :class:`~hemocam_training.experiments.catalogue.ExperimentModule`.

    Raises:
        DataRefused: ``DATA_NO_MASKS``; ``TRAIN_NOTHING_FOUND``: the network finds too little to be explained.
    """
    size = settings.fit.input_size
    if sources:
        kinds = ("subtypes", "any") if settings.fit.network.classes == 2 else ("subtypes",)
        parts = dataset_parts(
            with_masks(sources[0], *kinds), settings.fractions, work, size, progress, workers=settings.workers
        )
    else:
        parts = phantom_parts(settings.phantoms, work, size, progress)
    names = {1: ANY} if settings.fit.network.classes == 2 else {one.label: one.name for one in SUBTYPES}
    network = _fitted(settings.fit, parts, work / "unet", len(names), progress)
    layers = settings.explain.layers or tuple(f"[-{place}]" for place in range(1, 1 + len(network.map_layers)))  # type: ignore[arg-type]
    choice = Choice(
        settings.explain.per_scan,
        settings.explain.least_area_mm2,
        settings.explain.of_truth,
        settings.explain.tolerance_mm,
    )
    explained = list(explain(network, layers, parts["test"], list(names), choice, progress))
    if not explained:
        raise DataRefused(
            "TRAIN_NOTHING_FOUND",
            "The network finds no hemorrhage where there is some, so there is nothing to explain.",
            "Train it longer, or explain the true pixels (explain.of_truth).",
        )
    counts = _pixel_counts(network, parts["test"], names)
    return _report(settings, sources, parts, explained, counts, names, layers, quick=quick)


def _fitted(
    config: FitConfig, parts: Mapping[str, SliceShards], folder: Path, classes: int, progress: Progress
) -> nn.Module:
    progress("training the U-Net")
    train, tune = (AnyHemorrhage(parts[part]) if classes == 1 else parts[part] for part in ("train", "tune"))
    return fitted_network(config, folder, train, tune)


def _pixel_counts(
    network: nn.Module, slices: SliceShards, names: Mapping[int, str]
) -> dict[str, list[tuple[str, int, int, int]]]:
    """By class (patient, pixels in both, predicted, true) of every slice."""
    found: dict[str, list[tuple[str, int, int, int]]] = {name: [] for name in names.values()}
    for position in range(len(slices)):
        truth = truth_of(slices, position, len(names))
        with torch.inference_mode():
            predicted = network(windowed(slices.stacks_hu(np.array([position]))))[0].argmax(dim=0).numpy()
        for number, name in names.items():
            here, there = predicted == number, truth == number
            counted = int((here & there).sum()), int(here.sum()), int(there.sum())
            found[name].append((str(slices.patients[position]), *counted))
    return found


def _report(
    settings: Settings,
    sources: Sequence[DataSource],
    parts: Mapping[str, SliceShards],
    explained: Sequence[Explained],
    counts: Mapping[str, Sequence[tuple[str, int, int, int]]],
    names: Mapping[int, str],
    layers: Sequence[str],
    *,
    quick: bool,
) -> Report:
    titles = _titles(explained, layers)
    deepest = list(titles)[-1]
    draws = settings.draws
    classes = [tables.class_table(explained, names, deepest, titles[deepest], draws)] if len(names) > 1 else []
    config = settings.fit
    origin = ", ".join(source.name for source in sources) or "phantoms"
    patients = len({one.patient for one in explained})
    what = "the true pixels" if settings.explain.of_truth else "the pixels that the network gave to the class"
    return Report(
        title="Segmentation explained: Seg-Grad-CAM against Seg-HiRes-Grad-CAM",
        question=QUESTION,
        data=(
            f"Trained on {len(parts['train'])} slices of {parts['train'].scan_count} scans ({origin}), "
            f"{config.input_size} × {config.input_size}; {len(explained)} maps a method and layer from "
            f"{patients} of the test's {parts['test'].scan_count} scans, patients that training did not see.",
            f"Explained are {what}; a class counts where both truth and explained pixels fill at least "
            f"{settings.explain.least_area_mm2:g} mm² of a slice.",
        ),
        sections=(
            Section("The network", tables=(tables.segmentation_table(counts, draws),)),
            Section(
                "Both methods at every layer",
                text=("Layers from the last feature map before the classes down to the bottleneck.",),
                tables=(tables.score_table(explained, titles, draws),),
                figures=(
                    figures.example_figure(explained, parts["test"], names, titles),
                    figures.curve_figure(explained, titles, SHARES),
                ),
            ),
            Section(
                "Paired comparison",
                tables=(tables.difference_table(explained, titles, draws), *classes),
                figures=(figures.difference_figure(explained, titles, draws),),
            ),
        ),
        limits=LIMITS,
        settings=config_values(settings),
        quick=quick,
        sources=SOURCES,
    )


def _titles(explained: Sequence[Explained], layers: Sequence[str]) -> dict[str, str]:
    """Title by module name, in the order asked for."""
    modules = list(dict.fromkeys(layer for _, layer in explained[0].maps if layer))
    titles: dict[str, Any] = dict(zip(modules, layers, strict=True))
    return titles
