"""Modules that make test inputs; tests are no package, so they are found by path."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

sys.path += [str(_HERE / "fixtures"), str(_HERE.parents[1] / "Testing" / "fixtures")]
