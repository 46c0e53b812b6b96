"""The module's self-tests for CTest, which looks for a file: they ship with the module, in HemoCAMLib.panel.selftest.

    Slicer --no-splash --testing --additional-module-paths HemoCAM \\
      --python-code "import slicer.testing; slicer.testing.runUnitTest(['Testing/selftest'], 'HemoCAMSelfTest')"

runs the same as ``slicer.testing.runUnitTest([...], 'HemoCAM')``.
"""

from __future__ import annotations

import unittest
from typing import Any


def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite, pattern: Any) -> unittest.TestSuite:
    """What unittest asks a module for."""
    from HemoCAMLib.panel.selftest import self_tests

    return self_tests()
