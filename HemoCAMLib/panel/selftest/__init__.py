"""Tests that run inside the application, installed or not: no network, no data but the phantom, no window needed.

``slicer.testing.runUnitTest([...], "HemoCAM")`` runs them, and so does the module's “Reload and Test”. Those that need
torch are skipped, with the reason, where the application has none.
"""

from __future__ import annotations

import unittest


def self_tests() -> unittest.TestSuite:
    """All of them."""
    from HemoCAMLib.panel.selftest import test_analysis, test_module, test_results

    load = unittest.TestLoader().loadTestsFromModule
    return unittest.TestSuite(load(module) for module in (test_module, test_results, test_analysis))
