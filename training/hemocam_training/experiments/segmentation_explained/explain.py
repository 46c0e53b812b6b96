"""Maps of a segmentation network by both methods at several layers, and what they score, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from hemocam_training.experiments.segmentation_explained.perturbation import (
    Curve,
    Perturbation,
    perturbation_curves,
    pixel_order,
)
from hemocam_training.experiments.segmentation_explained.scores import energy_inside, points_inside
from hemocam_training.learning.augmentation import windowed
from hemocam_training.shards import SliceShards
from HemoCAMLib.cam import Explainer
from HemoCAMLib.mask.upsample import upsample_box

SEG, HIRES = "seg-grad-cam", "seg-hires-grad-cam"
#: Maps that no method made: chance, and the explained pixels themselves.
CHANCE, PIXELS = "chance", "explained pixels"
METHODS = {SEG: "Seg-Grad-CAM", HIRES: "Seg-HiRes-Grad-CAM"}
REFERENCES = {CHANCE: "chance", PIXELS: "the explained pixels"}

#: What is measured, and which end is best.
MEASURES = {
    "energy_truth": "max",
    "energy_explained": "max",
    "pointing_truth": "max",
    "pointing_explained": "max",
    "deletion": "min",
    "insertion": "max",
    "drop_at_size": "max",
}

#: Finer where the curves fall: hemorrhage fills a few per cent of a head.
SHARES = (0.0, 0.005, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2, 0.35, 0.6, 1.0)
#: Softness of what insertion begins with.
BLUR_MM = 10.0
#: Correlation length of the chance maps, so that they are as smooth as maps are.
CHANCE_MM = 12.0


@dataclass(frozen=True, eq=False)
class Explained:
    """One class of one slice.

    Attributes:
        position: of the slice in the shards.
        patient: whose it is.
        number: of the class in the network's output.
        truth, explained: [row, column] the true pixels and those whose class is explained.
        maps: by (method, layer) [row, column] signed maps at the image's size; references have the layer "".
        scores: by the same, by measure; NaN where a map says nothing.
        curves: by the same, deletion and insertion.
    """

    position: int
    patient: str
    number: int
    truth: NDArray[np.bool_]
    explained: NDArray[np.bool_]
    maps: dict[tuple[str, str], NDArray[np.float32]]
    scores: dict[tuple[str, str], dict[str, float]]
    curves: dict[tuple[str, str], tuple[Curve, Curve]]


@dataclass(frozen=True)
class Choice:
    """Which slices are explained, and what of them.

    Attributes:
        per_scan: at most so many slices of a scan and class, drawn by chance.
        least_area_mm2: of truth and of explained pixels.
        of_truth: explain the true pixels instead of those that the network gives to the class.
        tolerance_mm: of the pointing game.
    """

    per_scan: int = 4
    least_area_mm2: float = 50.0
    of_truth: bool = False
    tolerance_mm: float = 0.0


def explain(
    network: nn.Module,
    layers: Sequence[str],
    slices: SliceShards,
    numbers: Sequence[int],
    choice: Choice,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Explained]:
    """Every class that is both there and found, in the slices that are drawn.

    Args:
        network: its logits are [N, class, H, W], background first.
        layers: names or presets.
        slices: with masks whose labels are the network's class numbers, or a network of two classes.
        numbers: of the classes.
        choice: of slices.
        progress: told now and then.
    """
    explainer = Explainer(network, layers)
    areas = slices.spacing_mm.prod(axis=1)
    rng = np.random.default_rng(0)
    seen: dict[tuple[int, int], int] = {}
    count = 0
    for position in rng.permutation(len(slices)).tolist():
        truth = truth_of(slices, position, len(numbers))
        least = choice.least_area_mm2 / areas[position]
        wanted = [
            number
            for number in numbers
            if seen.get((int(slices.scans[position]), number), 0) < choice.per_scan and (truth == number).sum() >= least
        ]
        if not wanted:
            continue
        x = windowed(slices.stacks_hu(np.array([position])))
        explanation = explainer.run(x)
        predicted = explanation.logits[0].argmax(dim=0).numpy()
        for number in wanted:
            explained = (truth if choice.of_truth else predicted) == number
            if explained.sum() < least:
                continue
            seen[int(slices.scans[position]), number] = seen.get((int(slices.scans[position]), number), 0) + 1
            maps = {}
            for layer in explainer.layers:
                pixels: dict[str, Any] = {"mask": torch.from_numpy(explained)} if choice.of_truth else {}
                for method in METHODS:
                    found = explanation.maps(method, [number], layer=layer, **pixels).values[0, 0].numpy()
                    rows, columns = explained.shape
                    maps[method, layer] = upsample_box(found, (rows, columns), (0, rows, 0, columns))
            yield _scored(network, x, slices, position, number, truth == number, explained, maps, choice)
            count += 1
            if count % 10 == 0:
                progress(f"{count} maps explained")


def truth_of(slices: SliceShards, position: int, classes: int) -> NDArray[np.uint8]:
    """[row, column] class numbers of a slice; a network with one class besides background knows no subtypes."""
    mask: NDArray[np.uint8] = slices.masks(np.array([position]))[0]
    return (mask > 0).astype(np.uint8) if classes == 1 else mask


def _scored(
    network: nn.Module,
    x: Tensor,
    slices: SliceShards,
    position: int,
    number: int,
    truth: NDArray[np.bool_],
    explained: NDArray[np.bool_],
    maps: dict[tuple[str, str], NDArray[np.float32]],
    choice: Choice,
) -> Explained:
    spacing_mm = float(slices.spacing_mm[position].mean())
    head = head_pixels(x[0, 1].numpy())
    noise = np.random.default_rng([1, position]).standard_normal(truth.shape)
    every = {
        **maps,
        (CHANCE, ""): ndimage.gaussian_filter(noise, CHANCE_MM / spacing_mm).astype(np.float32),
        (PIXELS, ""): explained.astype(np.float32),
    }
    image = x[0]
    without = torch.full_like(image, float(image[1][torch.from_numpy(head)].median()))
    sigma = BLUR_MM / spacing_mm
    blurred = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma)))
    region = torch.from_numpy(explained)

    def answer(images: Tensor) -> Tensor:
        logits: Tensor = network(images)
        return logits.float().softmax(dim=1)[:, number][:, region].mean(dim=1)

    asked = [
        Perturbation(kind, pixel_order(one, head, position))
        for one in every.values()
        for kind in ("deletion", "insertion")
    ]
    size = float((explained & head).sum() / max(head.sum(), 1))
    shares = sorted({*SHARES, size})
    curves = perturbation_curves(answer, image, without, blurred, asked, shares)
    scores, pairs = {}, {}
    for key, deletion, insertion in zip(every, curves[::2], curves[1::2], strict=True):
        tolerance_px = choice.tolerance_mm / spacing_mm
        values = (
            energy_inside(every[key], truth),
            energy_inside(every[key], explained),
            points_inside(every[key], truth, tolerance_px),
            points_inside(every[key], explained, tolerance_px),
            deletion.area,
            insertion.area,
            deletion.at(0.0) - deletion.at(size),
        )
        scores[key] = dict(zip(MEASURES, values, strict=True))
        pairs[key] = (deletion, insertion)
    patient = str(slices.patients[position])
    return Explained(position, patient, number, truth, explained, every, scores, pairs)


def head_pixels(windowed_slice: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[row, column] the head: what is above the window's lower end, without specks, its holes filled."""
    solid = ndimage.binary_opening(windowed_slice > 0, iterations=2)
    labelled, count = ndimage.label(solid)
    if count == 0:
        return np.ones(windowed_slice.shape, bool)
    largest = 1 + int(np.argmax(np.bincount(labelled.ravel())[1:]))
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(labelled == largest)
    return filled
