"""Largest difference of our maps from the grad-cam library's: every method of the registry, small and whole networks.

    python Testing/benchmarks/cam_exactness.py [--quick] [--network NAME ...] [--json FILE]

Prints Markdown; ``--json`` keeps every figure, and what the file holds of networks that are not run again. Each map is
divided by its largest absolute value first. Weights are random, inputs too; batch norms of small networks hold the
statistics of such inputs, whole ones stay as they are initialised, which keeps rounding small. Where the
library follows another formula on purpose the two are made equal (:mod:`gradcam_reference` says how); *as it comes* is
the difference with nothing made equal. Methods that run the network once for each channel explain one slice and class
of a whole network at ``[-3]``. ``--quick`` takes small networks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["TQDM_DISABLE"] = "1"
sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))

import numpy as np
import torch
from exactness_table import exactness_table
from gradcam_raw_maps import unit
from gradcam_reference import GRADIENT_METHODS, REFERENCES, Library, largest_difference
from random_networks import calibrated

from HemoCAMLib.cam import Explainer, Explanation, layer_presets, method_names
from HemoCAMLib.model.registry import build_network, build_segmentation_network

BOUND = 1e-4
CLASSES = 3
SIZE = 64, 96
PRESETS = ("[-1]", "[-2]", "[-3]")

#: They run the network once for each channel.
PERTURBING = ("ablation-cam", "ablation-cam-fast", "score-cam", "score-cam-fast")
CLOSED_FORM = ("cam", "local-logit")
DECOMPOSING = ("eigen-cam", "eigen-grad-cam", "kpca-cam")
OVER_PIXELS = ("seg-grad-cam", "seg-hires-grad-cam")
OF_A_CLASS = (*CLOSED_FORM, *GRADIENT_METHODS, *DECOMPOSING, *PERTURBING)
#: The library's FullGrad knows the biases of plain batch norms only, and adds 1e-7 to ranges that may be smaller.
FULL_GRAD = ("full-grad",)


@dataclass(frozen=True)
class Row:
    """One method at one layer of one network.

    Attributes:
        network, column: its name, and the column of the table that it belongs to.
        layer: preset and module.
        method: ours.
        precision: of the network.
        slices, classes: how many were compared.
        difference: the largest.
        as_it_comes: the largest where nothing is made equal; None where nothing needs to be, or it was not asked for.
    """

    network: str
    column: str
    layer: str
    method: str
    precision: str
    slices: int
    classes: int
    difference: float
    as_it_comes: float | None


@dataclass(frozen=True)
class Subject:
    """A network to compare on.

    Attributes:
        name, column: see :class:`Row`.
        build: gives it, with random weights.
        methods: which are compared.
        large: methods that run it for each channel see one slice and class.
    """

    name: str
    column: str
    build: Callable[[], Any]
    methods: tuple[str, ...] = OF_A_CLASS
    large: bool = False


def _of_registry(architecture: str, **arguments: Any) -> Callable[[], Any]:
    return lambda: build_network(architecture, arguments, CLASSES)


def _of_torchvision(name: str) -> Callable[[], Any]:
    def build() -> Any:
        import torchvision

        return getattr(torchvision.models, name)(num_classes=CLASSES)

    return build


SMALL, EFFICIENTNET, DENSENET = "small networks", "EfficientNetV2-S", "DenseNet121"
SUBJECTS = (
    Subject("test_resnet", SMALL, _of_registry("timm-classifier", encoder="test_resnet")),
    Subject("test_efficientnet", SMALL, _of_registry("timm-classifier", encoder="test_efficientnet")),
    Subject(
        "LSE-UNet on test_resnet", SMALL, _of_registry("lse-unet", encoder="test_resnet", decoder_channels=[8, 8, 8, 8])
    ),
    Subject(
        "MONAI U-Net",
        SMALL,
        lambda: build_segmentation_network("monai-unet", {"channels": [4, 8, 8], "residual_units": 1}, CLASSES),
        OVER_PIXELS,
    ),
    Subject("torchvision resnet18", SMALL, _of_torchvision("resnet18"), FULL_GRAD),
    Subject(
        "EfficientNetV2-S",
        EFFICIENTNET,
        _of_registry("timm-classifier", encoder="tf_efficientnetv2_s"),
        large=True,
    ),
    Subject("torchvision EfficientNetV2-S", EFFICIENTNET, _of_torchvision("efficientnet_v2_s"), FULL_GRAD),
    Subject("DenseNet121", DENSENET, _of_registry("timm-classifier", encoder="densenet121"), large=True),
    Subject("torchvision DenseNet121", DENSENET, _of_torchvision("densenet121"), FULL_GRAD),
)


def compare(subject: Subject) -> Iterator[Row]:
    """Rows of a network in both precisions."""
    for precision in (torch.float32, torch.float64):
        torch.manual_seed(0)
        network = subject.build().eval() if subject.large else calibrated(subject.build(), *SIZE)
        network = network.to(precision)
        stacks = torch.rand(2, 3, *SIZE, dtype=precision)
        if subject.methods == FULL_GRAD:
            yield _full_grad_row(subject, network, stacks)
            continue
        presets = {name: module for name, module in layer_presets(network).items() if name in PRESETS}
        explanation = Explainer(network, list(presets.values())).run(stacks)
        library = Library(network)
        for preset, module in presets.items():
            for method in subject.methods:
                if method in CLOSED_FORM and explanation.layer_passes[module].head is None:
                    continue
                # A thousand runs of the network for each map: one layer, the one of the fewest channels.
                if subject.large and method in PERTURBING and preset != "[-3]":
                    continue
                yield _row(subject, library, explanation, method, f"{preset} {module}", stacks)


def _row(
    subject: Subject, library: Library, explanation: Explanation, method: str, layer: str, stacks: torch.Tensor
) -> Row:
    single, module = subject.large and method in PERTURBING, layer.split()[1]
    seen, classes = (stacks[:1], [1]) if single else (stacks, list(range(CLASSES)))
    if method in OVER_PIXELS:
        difference, as_it_comes = _over_pixels(method, library, explanation, module, seen), None
    else:
        difference = largest_difference(method, library, explanation, module, seen, classes)
        asked = REFERENCES[method].made_equal and method not in CLOSED_FORM and not method.endswith("-fast")
        asked = asked and stacks.dtype == torch.float32
        as_it_comes = (
            largest_difference(method, library, explanation, module, seen, classes, as_it_comes=True) if asked else None
        )
    precision = str(stacks.dtype).removeprefix("torch.")
    counts = len(seen), len(classes)
    return Row(subject.name, subject.column, layer, method, precision, *counts, difference, as_it_comes)


def _over_pixels(method: str, library: Library, explanation: Explanation, layer: str, stacks: torch.Tensor) -> float:
    """Over the pixels that the network gives each class."""
    from pytorch_grad_cam.utils.model_targets import SemanticSegmentationTarget

    ours = explanation.maps(method, layer=layer).values.numpy()
    predicted = explanation.logits.argmax(dim=1).numpy()
    largest = 0.0
    for row in range(len(stacks)):
        for index in range(CLASSES):
            target = SemanticSegmentationTarget(index, (predicted[row] == index).astype(ours.dtype))
            theirs = library.map(REFERENCES[method].library, layer, stacks[row : row + 1], target)
            largest = max(largest, float(np.abs(unit(ours[row, index]) - unit(theirs)).max()))
    return largest


def _full_grad_row(subject: Subject, network: Any, stacks: torch.Tensor) -> Row:
    """Gradients are made large, so that the 1e-7 that the library adds to every range does not show."""
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.weight.data.mul_(1e6)
    layer = "features" if hasattr(network, "features") else "layer4"
    library = Library(network)
    explanation = Explainer(network, layer).run(stacks[:1])
    both = [
        largest_difference("full-grad", library, explanation, layer, stacks[:1], [1], as_it_comes=as_it_comes)
        for as_it_comes in (False, True)
    ]
    precision = str(stacks.dtype).removeprefix("torch.")
    return Row(subject.name, subject.column, "every layer", "full-grad", precision, 1, 1, *both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks")
    parser.add_argument("--network", choices=[subject.name for subject in SUBJECTS], action="append")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    missing = set(method_names()) ^ set(REFERENCES)
    if missing:
        raise SystemExit(f"no reference, or no method, for {', '.join(sorted(missing))}")
    rows: list[dict[str, Any]] = []
    if options.json and options.json.exists():
        rows = json.loads(options.json.read_text(encoding="utf-8"))["rows"]
    for subject in SUBJECTS:
        if (options.quick and subject.column != SMALL) or subject.name not in (options.network or [subject.name]):
            continue
        new = []
        for row in compare(subject):
            new.append(asdict(row))
            print(f"{row.network} {row.layer} {row.method} {row.precision}: {row.difference:.1e}", file=sys.stderr)
        rows = [row for row in rows if row["network"] != subject.name] + new
        if options.json:
            options.json.write_text(json.dumps({**_made_with(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(exactness_table(rows))
    # What float32 leaves to the order of summation is shown; whether formulas agree is judged in float64.
    judged = {}
    for precision in ("float32", "float64"):
        judged = max((row for row in rows if row["precision"] == precision), key=lambda row: row["difference"])
        print("\nLargest in {precision}: {difference:.1e} ({network} {layer} {method})".format(**judged))
    sys.exit(judged["difference"] > BOUND)


def _made_with() -> dict[str, Any]:
    packages = ("torch", "timm", "torchvision", "monai", "grad-cam")
    return {
        "what": "largest difference of ours from the grad-cam library's maps, each over its largest absolute value",
        "bound": BOUND,
        "input": [2, 3, *SIZE],
        "weights": "random, seed 0",
        "machine": platform.machine(),
        "versions": {name: version(name) for name in packages},
    }


if __name__ == "__main__":
    main()
