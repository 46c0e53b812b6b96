"""Train a plain classifier (trunk, average pooling, linear layer) from class labels of phantom slices only.

    python -m hemocam_training.train_classifier --cache CACHE --out RUN --encoder tf_efficientnetv2_b0 \\
        --stages 128:9:32:2e-3 256:17:16:1.2e-3 384:10:8:6e-4

It is the network of the CAM benchmark (:mod:`hemocam_training.benchmark_cams`): nothing in it was made for maps.
Each stage is ``size:minutes:batch:learning_rate``, and each starts from the one before; small images first, as
EfficientNetV2 itself was trained. Every stage leaves ``checkpoint.safetensors`` (averaged weights) and
``progress.json`` in ``RUN/<size>``, the last one the bundle ``RUN/bundle`` besides.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hemocam_training.fitting import Fit, FitOptions, add_fit_options, fit_to
from hemocam_training.losses import known_cross_entropy
from HemoCAMLib.model.registry import build_network
from HemoCAMLib.subtypes import CLASS_NAMES

ARCHITECTURE = "timm-classifier"


@dataclass(frozen=True)
class Stage:
    """One size of the images, and how long to train with it."""

    size: int
    minutes: float
    batch: int
    learning_rate: float

    @classmethod
    def parse(cls, text: str) -> Stage:
        """From ``size:minutes:batch:learning_rate``.

        >>> Stage.parse("128:9:32:2e-3")
        Stage(size=128, minutes=9.0, batch=32, learning_rate=0.002)
        """
        size, minutes, batch, learning_rate = text.split(":")
        return cls(int(size), float(minutes), int(batch), float(learning_rate))


def new_network(encoder: str, seed: int) -> nn.Module:
    """The classifier with random weights."""
    torch.manual_seed(seed)
    network = build_network(ARCHITECTURE, {"encoder": encoder}, len(CLASS_NAMES))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def classifier_loss(network: nn.Module, x: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Binary cross entropy per class over the labels that are known."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    return known_cross_entropy(logits, target, known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    add_fit_options(parser)
    parser.add_argument("--encoder", default="tf_efficientnetv2_b0", help="timm architecture name")
    parser.add_argument("--stages", type=Stage.parse, nargs="+", required=True, metavar="SIZE:MINUTES:BATCH:RATE")
    parser.add_argument("--start", type=Path, help="weights to start from (safetensors)")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    network = new_network(chosen.encoder, chosen.seed)
    start = chosen.start
    for number, stage in enumerate(chosen.stages):
        if start:
            network.load_state_dict(load_file(start))
        options = FitOptions(
            stage.minutes,
            batch=stage.batch,
            learning_rate=stage.learning_rate,
            seed=chosen.seed + number,
            size=stage.size,
            without_hidden=chosen.without_hidden,
        )
        folder = chosen.out / str(stage.size)
        fit = Fit(network, classifier_loss, chosen.cache, options)
        fit_to(folder, fit, chosen.cache, chosen.checkpoint_minutes)
        start = folder / "checkpoint.safetensors"


if __name__ == "__main__":
    main()
