"""Largest difference of our maps from the grad-cam library's, for every method both have.

``python cam_exactness.py [--quick] [--json FILE]`` prints a Markdown table; each map is divided by its largest
absolute value first. Weights are random, inputs too. ``--quick`` takes small networks.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from HemoCAMLib.cam import Explainer, layer_presets
from HemoCAMLib.model.registry import build_network

sys.path.append(str(Path(__file__).resolve().parents[1] / "fixtures"))

from gradcam_reference import LIBRARY_NAMES, OPTIONS, library_map, unit
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

NETWORKS = [
    ("timm-classifier", {"encoder": "tf_efficientnetv2_s"}),
    ("timm-classifier", {"encoder": "densenet121"}),
]
SMALL_NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("timm-classifier", {"encoder": "test_resnet"}),
    ("timm-classifier", {"encoder": "test_efficientnet"}),
    ("lse-unet", {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8]}),
]
CLASSES = 3


def differences(
    architecture: str, arguments: dict[str, Any], precision: torch.dtype, size: int
) -> list[dict[str, Any]]:
    """One row for each method and layer of a network."""
    torch.manual_seed(0)
    network: Any = build_network(architecture, arguments, CLASSES).eval().to(precision)
    stacks = torch.rand(2, 3, size, size, dtype=precision)
    presets = {name: layer for name, layer in layer_presets(network).items() if name in ("[-1]", "[-2]", "[-3]")}
    explanation = Explainer(network, list(presets)).run(stacks)
    rows = []
    for preset, layer in presets.items():
        for method in LIBRARY_NAMES:
            ours = explanation.maps(method, layer=preset, **OPTIONS.get(method, {})).values.numpy()
            largest = 0.0
            for row in range(len(stacks)):
                for index in range(CLASSES):
                    target = ClassifierOutputTarget(index)
                    theirs = library_map(network, layer, method, stacks[row : row + 1], target)
                    largest = max(largest, float(np.abs(unit(ours[row, index]) - unit(theirs)).max()))
            rows.append(
                {
                    "network": f"{architecture} {arguments['encoder']}",
                    "layer": f"{preset} {layer}",
                    "method": method,
                    "precision": str(precision).removeprefix("torch."),
                    "largest_difference": largest,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    networks = SMALL_NETWORKS if options.quick else NETWORKS + SMALL_NETWORKS
    rows = []
    for architecture, arguments in networks:
        for precision in (torch.float32, torch.float64):
            rows += differences(architecture, arguments, precision, options.size)
    print("| network | layer | method | precision | largest difference |\n|---|---|---|---|---:|")
    for row in rows:
        print("| {network} | {layer} | {method} | {precision} | {largest_difference:.1e} |".format(**row))
    print(f"\nLargest of all: {max(row['largest_difference'] for row in rows):.1e}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
