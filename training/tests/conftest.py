"""What tests of the training package may ask for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
_PROJECT = _HERE.parents[1]

# Modules that make test inputs; tests are no package, so they are found by path.
sys.path += [str(_HERE / "fixtures"), str(_PROJECT / "Testing" / "fixtures")]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real CT for tests; the test is skipped where it is absent."""
    folder = Path(os.environ.get("HEMOCAM_TEST_DATA", _PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real CT for tests is not at {folder} (set HEMOCAM_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle that loads and runs in milliseconds; it says that it learned from phantoms."""
    from small_models import write_small_bundle

    return write_small_bundle(tmp_path_factory.mktemp("small")).path
