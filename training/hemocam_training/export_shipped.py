"""Turn a checkpoint into the bundle that ships: tune, store in half precision, describe.

python -m hemocam_training.export_shipped --run RUN --out Resources/models/hemocam-phantom
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hemocam_training.cache import SIZE, TRAINING_SEED, VALIDATION_SEED
from hemocam_training.phantoms import Phantom, make_phantom
from hemocam_training.phantoms.plan import MIXTURES
from hemocam_training.train_shipped import ARCHITECTURE, ARGUMENTS
from hemocam_training.tuning import Thresholds, tune
from HemoCAMLib.mask.refine import RefinementSettings
from HemoCAMLib.model.bundle import ModelBundle, write_bundle
from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES

NAME = "hemocam-phantom"
LICENCE = "Apache-2.0"
INTENDED_USE = (
    "Research and demonstration only; not for clinical use. Trained on synthetic scans alone: it has never learned "
    "from a real patient, and its figures on synthetic scans say nothing about real ones. Not a medical device."
)
DESCRIPTION = (
    "LSE-UNet with a small encoder, trained from scratch on class labels of synthetic head CT slices. "
    "It calls five hemorrhage subtypes per slice and shows where; masks follow from its local logits. "
    "Known weakness: subdural hematomas are practically never called as such in this version."
)
#: Validation phantoms used for tuning lie beyond those that training looks at between checkpoints.
TUNING_SEED = VALIDATION_SEED + 10_000


def tuning_phantoms(count: int) -> Iterator[Phantom]:
    """Full-size phantoms with noise, never trained on; every mixture of subtypes comes equally often."""
    for k in range(count):
        yield make_phantom(TUNING_SEED + k, subtypes=MIXTURES[k % len(MIXTURES)][1])


def describe(thresholds: Thresholds, version: str, stages: list[dict[str, Any]], tuned_on: int) -> BundleMetadata:
    """The metadata of the model that ships."""
    last = stages[-1]
    return BundleMetadata(
        name=NAME,
        version=version,
        description=DESCRIPTION,
        intended_use=INTENDED_USE,
        architecture=ARCHITECTURE,
        arguments=ARGUMENTS,
        subtypes=CLASS_NAMES,
        input_size=(SIZE, SIZE),
        map_layer="merge.0",
        class_thresholds=thresholds.class_thresholds,
        mask_thresholds=thresholds.mask_thresholds,
        minimum_volume_ml=thresholds.minimum_volume_ml,
        refinement=RefinementSettings().as_dict(),
        training_data=(
            {
                "name": "HemoCAM phantoms (hemocam_training.phantoms)",
                "licence": LICENCE,
                "kind": "synthetic head CT made by code; no patient data",
                "supervision": "class labels of slices only; no masks",
                "scans": last["scans"],
                "first_seed": TRAINING_SEED,
            },
            {
                "name": "HemoCAM phantoms, tuning set",
                "licence": LICENCE,
                "kind": "synthetic head CT made by code; no patient data",
                "supervision": "class labels and masks choose the thresholds and the smallest lesion volume, "
                "nothing else",
                "scans": tuned_on,
                "first_seed": TUNING_SEED,
            },
        ),
        metrics={
            "training": {
                "script": "hemocam_training.train_shipped",
                "stages": [{key: stage[key] for key in ("size", "step", "slices", "minutes")} for stage in stages],
            },
            "validation_phantoms_auroc": last["auroc"],
            "tuning_phantoms_pooled_dice": thresholds.dice,
        },
        authors="The HemoCAM founders",
        copyright=LICENCE,
        changelog={version: "Trained on phantoms from class labels only."},
    )


def export(runs: list[Path], out: Path, version: str, scans: int) -> ModelBundle:
    """Write the bundle, with thresholds tuned on the weights as they are stored."""
    stages = [json.loads((run / "progress.json").read_text(encoding="utf-8"))[-1] for run in runs]
    weights = {name: value.numpy() for name, value in load_file(runs[-1] / "checkpoint.safetensors").items()}
    none = Thresholds(
        dict.fromkeys(CLASS_NAMES, 0.5),
        {"absolute": dict.fromkeys(SUBTYPE_NAMES, 0.5), "per_image": dict.fromkeys(SUBTYPE_NAMES, 125.0)},
        0.1,
    )
    draft = write_bundle(out, describe(none, version, stages, 0), weights, half=True)
    network = load_network(draft, torch.device("cpu"))
    found = tune(network, tuning_phantoms(scans), draft.metadata.stack_settings)
    return write_bundle(out, describe(found, version, stages, scans), weights, half=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Tune and export the model that ships")
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="training stages in order")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--scans", type=int, default=28)
    chosen = parser.parse_args()
    bundle = export(chosen.run, chosen.out, chosen.version, chosen.scans)
    shown = bundle.metadata.hemocam_fields()
    print(json.dumps({key: shown[key] for key in ("class_thresholds", "mask_thresholds", "minimum_volume_ml")}))
    print(json.dumps(shown["metrics"], indent=1))


if __name__ == "__main__":
    main()
