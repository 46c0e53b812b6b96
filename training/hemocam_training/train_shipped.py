"""Train the model that ships, from class labels of phantom slices only.

    python -m hemocam_training.cache CACHE/train --count 300
    python -m hemocam_training.cache CACHE/validation --first-seed 2000000 --count 20
    python -m hemocam_training.train_shipped --cache CACHE --out FIRST --size 128 --batch 24 --minutes 17 \\
        --learning-rate 2e-3
    python -m hemocam_training.train_shipped --cache CACHE --out RUN --batch 12 --minutes 27 \\
        --learning-rate 1.2e-3 --start FIRST/checkpoint.safetensors

At half the size a step costs a quarter, and the network learns what blood is; the second run learns its fine shape.
Writes ``checkpoint.safetensors`` (averaged weights) and ``progress.json`` to the run folder every few minutes.
The length of the learning-rate schedule is given in minutes, so the number of steps, and with it the exact
weights, depend on the machine; ``--steps`` makes it independent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hemocam_training.cache import SIZE
from hemocam_training.fitting import Fit, FitOptions, add_fit_options, fit_to
from hemocam_training.losses import classification_loss, consistency_loss
from HemoCAMLib.model.lse_unet import LseUNet
from HemoCAMLib.model.registry import build_network
from HemoCAMLib.subtypes import CLASS_NAMES

ARCHITECTURE = "lse-unet"
ARGUMENTS = {"encoder": "resnet10t", "r": 3.0, "decoder_channels": [64, 64, 96, 128]}


def new_network(seed: int) -> LseUNet:
    """The network that ships, with random weights; the class biases start at 2, so that few pixels are positive."""
    torch.manual_seed(seed)
    network = build_network(ARCHITECTURE, ARGUMENTS, len(CLASS_NAMES))
    assert isinstance(network, LseUNet)
    for score in network.score:
        nn.init.constant_(score.bias, 2.0)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def lse_loss(network: nn.Module, x: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Equations 6 and 7 of the weakly supervised paper."""
    assert isinstance(network, LseUNet)
    with torch.autocast("cpu", torch.bfloat16):
        out = network.deep_supervision(x)
    return classification_loss(out.logits, target, known) + consistency_loss(out.local_logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    add_fit_options(parser)
    parser.add_argument("--minutes", type=float, default=55.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning-rate", type=float, default=FitOptions.learning_rate)
    parser.add_argument("--start", type=Path, help="weights to start from (safetensors)")
    parser.add_argument("--batch", type=int, default=FitOptions.batch)
    parser.add_argument("--size", type=int, default=SIZE)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    options = FitOptions(
        chosen.minutes,
        chosen.steps,
        chosen.batch,
        chosen.learning_rate,
        seed=chosen.seed,
        size=chosen.size,
        without_hidden=chosen.without_hidden,
    )
    network = new_network(chosen.seed)
    if chosen.start:
        network.load_state_dict(load_file(chosen.start))
    fit_to(chosen.out, Fit(network, lse_loss, chosen.cache, options), chosen.cache, chosen.checkpoint_minutes)


if __name__ == "__main__":
    main()
