"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real CT for tests; the test is skipped where it is absent."""
    folder = Path(os.environ.get("HEMOCAM_TEST_DATA", PROJECT_ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real CT for tests is not at {folder} (set HEMOCAM_TEST_DATA)")
    return folder
