"""The stand-in for the application, for tests that need PySide6 and slicer-core."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))


@pytest.fixture
def host() -> Iterator[Any]:
    """The application, running; the test fails when it would have printed an exception and gone on."""
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from panel_host import PanelHost

    with PanelHost() as running:
        yield running


@pytest.fixture
def qt(host: Any) -> Any:
    """`import qt` inside the application."""
    import qt as module

    return module
