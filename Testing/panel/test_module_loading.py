"""The module in the application: it loads, shows its panel, is left, reloaded and unloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def test_the_module_is_loaded_from_a_checkout_and_shows_its_panel(host: Any) -> None:
    import slicer

    module = host.load_module(ROOT / "HemoCAM" / "HemoCAM.py")
    assert module.title == "HemoCAM"
    assert "not a medical device" in module.helpText
    assert not module.icon.isNull()
    panel = host.select_module("HemoCAM")
    assert panel.ui.inputSelector.mrmlScene() is slicer.mrmlScene
    assert panel.ui.applyButton.text == "Analyse"
    assert not panel.ui.applyButton.enabled


def test_the_module_is_reloaded(host: Any) -> None:
    import slicer

    host.load_module(ROOT / "HemoCAM" / "HemoCAM.py")
    panel = host.select_module("HemoCAM")
    panel.onReload()
    assert slicer.modules.HemoCAMWidget is not panel
    assert slicer.modules.HemoCAMWidget.ui.applyButton.text == "Analyse"
