"""Train a plain classifier (trunk, average pooling, linear layer) from class labels of phantom slices only.

    python -m hemocam_training.train_classifier --cache CACHE --out RUN --encoder tf_efficientnetv2_b0 \\
        --stages 128:9:32:2e-3 256:17:16:1.2e-3 384:10:8:6e-4

It is the network of the CAM benchmark (``hemocam-train benchmark-cams``): nothing in it was made for maps.
Each stage is ``size:minutes:batch:learning_rate``, and each starts from the one before; small images first, as
EfficientNetV2 itself was trained. ``--encoder-of`` begins with the encoder of an LSE-UNet bundle (the same
architecture, learned from the same kind of labels), which saves most of the time. Every stage leaves
``checkpoint.safetensors`` (averaged weights) and ``progress.json`` in ``RUN/<number>-<size>``, the last one the bundle
``RUN/bundle`` besides.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hemocam_training.cache import TRAINING_SEED
from hemocam_training.export_shipped import INTENDED_USE, LICENCE
from hemocam_training.fitting import Fit, FitOptions, add_fit_options, fit_to
from hemocam_training.losses import known_cross_entropy
from HemoCAMLib.model.bundle import ModelBundle, write_bundle
from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.model.registry import build_network
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES

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


def take_encoder(network: nn.Module, bundle: ModelBundle) -> None:
    """Begin with the encoder of an LSE-UNet; only the linear layer keeps its random weights.

    Raises:
        ValueError: its encoder has other parameters.
    """
    weights = bundle.read_weights()
    encoder = {
        name.removeprefix("encoder."): torch.from_numpy(value.copy())
        for name, value in weights.items()
        if name.startswith("encoder.")
    }
    state = network.state_dict()
    missing = [name for name in state if name not in encoder and name.split(".")[-2] not in ("fc", "classifier")]
    if missing or any(name not in state or state[name].shape != value.shape for name, value in encoder.items()):
        raise ValueError(f"{bundle.metadata.name} is not an LSE-UNet on this encoder")
    network.load_state_dict(encoder, strict=False)


def classifier_loss(network: nn.Module, x: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Binary cross entropy per class over the labels that are known."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(x)
    return known_cross_entropy(logits, target, known)


def write_classifier(out: Path, network: nn.Module, encoder: str, stages: list[Path]) -> ModelBundle:
    """Store the classifier as a bundle; its thresholds are placeholders: the benchmark chooses its own.

    Args:
        out: folder.
        network: with its final weights.
        encoder: timm architecture name.
        stages: run folders in order; the last one's size is the bundle's input size.
    """
    history = [json.loads((stage / "progress.json").read_text(encoding="utf-8"))[-1] for stage in stages]
    last = history[-1]
    metadata = BundleMetadata(
        name=f"phantom-classifier-{encoder.replace('_', '-')}",
        version="0.1.0",
        description="A plain classifier of synthetic head CT slices, for comparing activation map methods.",
        intended_use=INTENDED_USE,
        architecture=ARCHITECTURE,
        arguments={"encoder": encoder},
        subtypes=CLASS_NAMES,
        input_size=(last["size"], last["size"]),
        map_layer=str(network.map_layer),
        class_thresholds=dict.fromkeys(CLASS_NAMES, 0.5),
        mask_thresholds={"per_image": dict.fromkeys(SUBTYPE_NAMES, 125.0)},
        mask_scale="per_image",
        minimum_volume_ml=0.0,
        training_data=(
            {
                "name": "HemoCAM phantoms (hemocam_training.phantoms)",
                "licence": LICENCE,
                "supervision": "class labels of slices only; no masks",
                "scans": last["scans"],
                "first_seed": TRAINING_SEED,
            },
        ),
        metrics={
            "training": [{key: stage[key] for key in ("size", "step", "slices", "minutes")} for stage in history],
            "validation_phantoms_auroc": last["auroc"],
        },
        copyright=LICENCE,
    )
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return write_bundle(out, metadata, weights, half=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    add_fit_options(parser)
    parser.add_argument("--encoder", default="tf_efficientnetv2_b0", help="timm architecture name")
    parser.add_argument("--stages", type=Stage.parse, nargs="+", required=True, metavar="SIZE:MINUTES:BATCH:RATE")
    start_from = parser.add_mutually_exclusive_group()
    start_from.add_argument("--start", type=Path, help="weights to start from (safetensors)")
    start_from.add_argument("--encoder-of", type=ModelBundle.open, metavar="BUNDLE", help="LSE-UNet to begin with")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    network = new_network(chosen.encoder, chosen.seed)
    if chosen.encoder_of:
        take_encoder(network, chosen.encoder_of)
    start = chosen.start
    folders = [chosen.out / f"{number}-{stage.size}" for number, stage in enumerate(chosen.stages, start=1)]
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
        folder = folders[number]
        fit = Fit(network, classifier_loss, chosen.cache, options)
        fit_to(folder, fit, chosen.cache, chosen.checkpoint_minutes)
        start = folder / "checkpoint.safetensors"
    network.load_state_dict(load_file(start))
    write_classifier(chosen.out / "bundle", network, chosen.encoder, folders)


if __name__ == "__main__":
    main()
