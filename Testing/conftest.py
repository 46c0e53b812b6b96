"""What every test may ask for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parents[1]

# Modules that make test inputs; tests are no package, so they are found by path.
sys.path.append(str(Path(__file__).resolve().parent / "fixtures"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real CT for tests; the test is skipped where it is absent."""
    folder = Path(os.environ.get("HEMOCAM_TEST_DATA", PROJECT_ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real CT for tests is not at {folder} (set HEMOCAM_TEST_DATA)")
    return folder


def _write_tiny_bundle(folder: Path, seed: int) -> Path:
    """A small LSE-UNet with random weights: right in every respect but what it says."""
    import torch

    from HemoCAMLib.model import BundleMetadata, write_bundle
    from HemoCAMLib.model.registry import build_network
    from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPE_NAMES

    torch.manual_seed(seed)
    arguments = {"encoder": "test_resnet", "r": 3.0, "decoder_channels": [8, 8, 12, 16]}
    network = build_network("lse-unet", arguments, len(CLASS_NAMES))
    metadata = BundleMetadata(
        name="tiny",
        version="0.0.1",
        description="Random weights for tests.",
        intended_use="Tests only.",
        architecture="lse-unet",
        arguments=arguments,
        subtypes=CLASS_NAMES,
        input_size=(64, 64),
        map_layer=network.map_layer,
        class_thresholds=dict.fromkeys(CLASS_NAMES, 0.4),
        mask_thresholds={
            "absolute": dict.fromkeys(SUBTYPE_NAMES, 0.5),
            "per_image": dict.fromkeys(SUBTYPE_NAMES, 125.0),
        },
        training_data=({"name": "none", "licence": "none"},),
        minimum_volume_ml=0.0,
    )
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return write_bundle(folder, metadata, weights).path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model bundle that loads and runs in milliseconds."""
    return _write_tiny_bundle(tmp_path_factory.mktemp("tiny"), seed=0)


@pytest.fixture(scope="session")
def other_tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another such model."""
    return _write_tiny_bundle(tmp_path_factory.mktemp("other"), seed=1)
