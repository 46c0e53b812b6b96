"""Pictures of every method on one phantom slice, by layer, and on one slice of a scan without hemorrhage.

    python -m hemocam_training.draw_maps --model RUN/bundle --scores MAPS --out docs/images --name classifier \\
        --negative PATH_OF_A_DICOM_FOLDER

Best layers and thresholds are those of ``scores.csv`` in the folder that ``hemocam-train benchmark-cams`` wrote.
The phantom slice is not chosen by its looks: of the held-out slices with an intraparenchymal hemorrhage and nothing
else it is the one whose lesion has the median area. Of the negative scan it is the slice that the model finds most
suspicious.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hemocam_training.experiments.cam_benchmark.bundles import BenchmarkOptions
from hemocam_training.experiments.cam_benchmark.compare import LAYERLESS
from hemocam_training.experiments.cam_benchmark.figures import Panel, draw_panels
from hemocam_training.experiments.cam_benchmark.maps import slice_maps
from hemocam_training.experiments.cam_benchmark.masks import map_mask, score_image
from hemocam_training.experiments.cam_benchmark.slices import BenchmarkSlice, bleeding_slices, scans_of
from HemoCAMLib.cam import Explainer
from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.mask.brain_mask import find_brain
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.model.stacks import SliceStacker, StackSettings
from HemoCAMLib.subtypes import ANY, CLASS_NAMES, subtype_named

#: Slices on which a method's usual height is taken: the median of its peaks, the absolute scale of the pictures.
REFERENCE_SLICES = 12

#: Of an LSE-UNet, from its deepest layer to the one before its local logits.
SEGMENTATION_LAYERS = ("encoder.body.layer4", "merge.2", "merge.1", "merge.0")


@dataclass(frozen=True)
class Chosen:
    """A method at a layer, with what the benchmark found for "any"."""

    method: str
    layer: str
    threshold: float
    dice: float

    @property
    def title(self) -> str:
        """Of its picture."""
        return self.method if self.method in LAYERLESS else f"{self.method} {self.layer}"


def read_scores(path: Path) -> list[Chosen]:
    """Every method at every layer for "any" with its fixed threshold, in the order of the file."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["class"] == ANY and row["mask_rule"] == "fixed"]
    # Where a method saw all slices that row comes first, and stays.
    found: dict[tuple[str, str], Chosen] = {}
    for row in sorted(rows, key=lambda row: row["slices_of"]):
        key = row["method"], row["layer"]
        found.setdefault(key, Chosen(*key, float(row["threshold"]), float(row["dice"])))
    order = [(row["method"], row["layer"]) for row in rows]
    return sorted(found.values(), key=lambda chosen: order.index((chosen.method, chosen.layer)))


def best_of(scores: Sequence[Chosen]) -> list[Chosen]:
    """Each method at its best layer, best first."""
    best: dict[str, Chosen] = {}
    for chosen in scores:
        if chosen.method not in best or chosen.dice > best[chosen.method].dice:
            best[chosen.method] = chosen
    return sorted(best.values(), key=lambda chosen: -chosen.dice)


def typical_slice(slices: Sequence[BenchmarkSlice], name: str = "IPH") -> BenchmarkSlice:
    """The slice that shows only that subtype, in the median area."""
    alone = sorted(
        (s for s in slices if s.classes == [ANY, name]), key=lambda s: s.truth(name).sum() * s.pixel_area_mm2
    )
    if not alone:
        raise ValueError(f"no slice shows {name} alone")
    return alone[len(alone) // 2]


class AnyMaps:
    """Maps of "any" of one network; it is cut at each layer once.

    Args:
        network: from a bundle.
        settings: of its input.
    """

    def __init__(self, network: nn.Module, settings: StackSettings) -> None:
        self.network, self.settings = network, settings
        self._explainers: dict[str, Explainer] = {}

    def __call__(self, chosen: Chosen, one: BenchmarkSlice) -> NDArray[np.float32]:
        """[h, w] of a method at its layer."""
        if chosen.layer not in self._explainers:
            self._explainers[chosen.layer] = Explainer(self.network, [chosen.layer])
        found = slice_maps(self._explainers[chosen.layer], self.settings, {chosen.method: 1}, [one])
        return found[chosen.method][0].maps[0]


def methods_figure(any_map: AnyMaps, best: Sequence[Chosen], one: BenchmarkSlice, out: Path) -> None:
    """Maps on one phantom slice above their masks against the truth."""
    truth, hu = one.truth(ANY), one.hu[1]
    above, below = [Panel("slice, truth outlined")], [Panel("")]
    for chosen in best:
        activation_map = any_map(chosen, one)
        above.append(Panel(chosen.title, activation_map))
        mask = map_mask(activation_map, one.brain, "fixed", chosen.threshold)
        dice = 2 * (mask & truth).sum() / max(mask.sum() + truth.sum(), 1)
        below.append(Panel(f"mask, Dice {dice:.2f}", mask=mask))
    panels, columns = in_rows(above, below)
    draw_panels(
        hu, truth, panels, out, columns=columns, note=f"phantom {one.scan}, slice {one.index + 1}; per-image scale"
    )


def in_rows(above: Sequence[Panel], below: Sequence[Panel], rows: int = 2) -> tuple[list[Panel], int]:
    """Pairs of panels in so many rows, the one of a pair above the other; the panels, and how many stand in a row."""
    columns = -(-len(above) // rows)
    panels: list[Panel] = []
    for start in range(0, len(above), columns):
        for row in (above[start : start + columns], below[start : start + columns]):
            panels += [*row, *[Panel("", blank=True)] * (columns - len(row))]
    return panels, columns


def layers_figure(any_map: AnyMaps, scores: Sequence[Chosen], one: BenchmarkSlice, out: Path) -> None:
    """Methods across, layers down."""
    layers = list(dict.fromkeys(chosen.layer for chosen in scores))
    methods = [m for m in dict.fromkeys(c.method for c in scores) if sum(c.method == m for c in scores) == len(layers)]
    panels = []
    for layer in layers:
        for method in methods:
            chosen = next(c for c in scores if (c.method, c.layer) == (method, layer))
            panels.append(Panel(f"{method} {layer}", any_map(chosen, one)))
    draw_panels(
        one.hu[1],
        one.truth(ANY),
        panels,
        out,
        columns=len(methods),
        note=f"phantom {one.scan}, slice {one.index + 1}; per-image scale; truth outlined",
    )


def negative_figure(
    any_map: AnyMaps,
    best: Sequence[Chosen],
    one: BenchmarkSlice,
    probability: float,
    reference: Sequence[BenchmarkSlice],
    out: Path,
) -> None:
    """A slice without hemorrhage: each map over its own peak, and over the usual peak on slices that bleed."""
    above, below = [], []
    for chosen in best:
        activation_map = any_map(chosen, one)
        peaks = [float(any_map(chosen, other).max()) for other in reference]
        usual = max(float(np.median(peaks)), 1e-12)
        above.append(Panel(chosen.title, activation_map))
        share = max(float(activation_map.max()), 0) / usual
        below.append(Panel(f"absolute, peak {share:.2f}", activation_map, usual))
    note = f"no hemorrhage; p(any) = {probability:.2f}. Above: each map over its own peak. "
    note += "Below: over the median peak on slices that bleed"
    panels, columns = in_rows(above, below)
    draw_panels(one.hu[1], None, panels, out, columns=columns, note=note)


class LocalLogits(nn.Module):
    """A network with local logits as a segmentation network: background, then one channel for each subtype.

    A pixel is background where every local logit is negative.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, stacks: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 6, h, w]."""
        local: Tensor = self.network.head.local_logits(self.network.trunk(stacks))
        subtypes = local[:, CLASS_NAMES.index(ANY) + 1 :]
        return torch.cat([torch.zeros_like(subtypes[:, :1]), subtypes], dim=1)


def segmentation_figure(network: nn.Module, settings: StackSettings, one: BenchmarkSlice, name: str, out: Path) -> None:
    """Seg-Grad-CAM and Seg-HiRes-Grad-CAM of an LSE-UNet's own labelling of one slice, at four depths.

    M are the pixels that the network gives the subtype; where it gives none, the one pixel in the brain that comes
    nearest to it.

    Args:
        network: LSE-UNet.
        settings: of its input.
        one: the slice.
        name: of the subtype.
        out: PNG.
    """
    layers = [f"network.{layer}" for layer in SEGMENTATION_LAYERS]
    explanation = Explainer(LocalLogits(network), layers).run(torch.from_numpy(one.stack(settings)[None]))
    number = subtype_named(name).label
    chosen = explanation.logits[0].argmax(dim=0) == number
    what = f"pixels called {name}"
    if not bool(chosen.any()):
        inside = torch.from_numpy(one.brain[None, None].astype(np.float32))
        brain = nn.functional.adaptive_avg_pool2d(inside, chosen.shape)[0, 0] > 0.99
        nearest = torch.where(brain, explanation.logits[0, number], -torch.inf).argmax()
        chosen.view(-1)[nearest] = True
        what = f"pixel nearest to {name}"
    mask = score_image(chosen.float().numpy(), one.labels.shape) > 127
    truth = one.truth(name)
    panels = []
    for method in ("seg-grad-cam", "seg-hires-grad-cam"):
        panels.append(Panel(f"M: {what}", mask=mask))
        for layer in layers:
            values = explanation.maps(method, [number], layer=layer, mask=chosen).values[0, 0].numpy()
            panels.append(Panel(f"{method} {layer.removeprefix('network.').replace('encoder.body.', '')}", values))
    slice_name = f"phantom {one.scan}, slice {one.index + 1}; truth outlined" if truth.any() else "no hemorrhage"
    draw_panels(one.hu[1], truth, panels, out, columns=1 + len(layers), note=f"{slice_name}; {name}; per-image scale")


def suspicious_slice(network: nn.Module, settings: StackSettings, path: Path) -> tuple[BenchmarkSlice, float]:
    """The slice with the highest probability of any hemorrhage, and that probability."""
    scan = read_head_ct(path)
    hu = np.stack([np.asarray(scan.slices[index]) for index in range(len(scan.slices))])
    stacker = SliceStacker(np.maximum(hu, -1024), settings)
    with torch.inference_mode():
        logits = torch.cat([network(torch.from_numpy(stacker.stacks([index]))) for index in range(len(hu))])
    probabilities = torch.sigmoid(logits[:, CLASS_NAMES.index(ANY)])
    index = int(probabilities.argmax())
    brain = find_brain(hu, scan.geometry)
    around = np.clip([index - 1, index, index + 1], 0, len(hu) - 1)
    labels = np.zeros(hu.shape[1:], np.uint8)
    area = scan.geometry.pixel_area_mm2
    return BenchmarkSlice("", "", index, hu[around], labels, brain.slice(index, hu[index]), area), float(
        probabilities[index]
    )


def draw(
    bundle: ModelBundle,
    scores: Sequence[Chosen],
    slices: Sequence[BenchmarkSlice],
    out: Path,
    name: str,
    negative: Path | None,
) -> None:
    """Every figure of one model: ``maps-<name>-methods.png``, ``-layers.png`` and ``-negative.png``; of an LSE-UNet
    ``-segmentation.png`` and ``-negative-segmentation.png`` besides.
    """
    network, settings = load_network(bundle), bundle.metadata.stack_settings
    best, one = best_of(scores), typical_slice(slices)
    any_map = AnyMaps(network, settings)
    methods_figure(any_map, best, one, out / f"maps-{name}-methods.png")
    layers_figure(any_map, scores, one, out / f"maps-{name}-layers.png")
    segments = bundle.metadata.architecture == "lse-unet"
    if segments:
        segmentation_figure(network, settings, one, "IPH", out / f"maps-{name}-segmentation.png")
    if negative:
        suspicious, probability = suspicious_slice(network, settings, negative)
        reference = slices[:: max(1, len(slices) // REFERENCE_SLICES)][:REFERENCE_SLICES]
        negative_figure(any_map, best, suspicious, probability, reference, out / f"maps-{name}-negative.png")
        if segments:
            segmentation_figure(network, settings, suspicious, "IPH", out / f"maps-{name}-negative-segmentation.png")


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of every activation map method")
    parser.add_argument("--model", type=ModelBundle.open, required=True, help="bundle")
    parser.add_argument("--scores", type=Path, required=True, help="folder with scores.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", required=True, help="of the model, in the names of the files")
    parser.add_argument("--negative", type=Path, help="a scan without hemorrhage")
    parser.add_argument("--test-scans", type=int, default=BenchmarkOptions.test_scans)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    options = BenchmarkOptions(test_scans=chosen.test_scans)
    slices = list(bleeding_slices(scans_of(options.test_source), options.slices_per_scan))
    scores = read_scores(chosen.scores / "scores.csv")
    draw(chosen.model, scores, slices, chosen.out, chosen.name, chosen.negative)


if __name__ == "__main__":
    main()
