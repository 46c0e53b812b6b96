"""The model card: a Markdown file in the bundle that is shown, never obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from HemoCAMLib.cli import main
from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model import ModelBundle, find_model, write_bundle

CARD = "# A model\n\n| class | AUROC |\n|---|---|\n| IPH | 0.9 |\n\n[here](https://example.org)\n"


@pytest.fixture
def carded(tiny_bundle: Path, tmp_path: Path) -> Path:
    weights = (tiny_bundle / "models" / "model.safetensors").read_bytes()
    write_bundle(tmp_path / "carded", find_model(str(tiny_bundle)).metadata, weights, card=CARD)
    return tmp_path / "carded"


@pytest.mark.parametrize("name", ["model", "model.zip"])
def test_a_card_travels_with_its_bundle(tiny_bundle: Path, tmp_path: Path, name: str) -> None:
    weights = (tiny_bundle / "models" / "model.safetensors").read_bytes()
    bundle = write_bundle(tmp_path / name, find_model(str(tiny_bundle)).metadata, weights, card=CARD)
    assert bundle.read_card() == CARD
    bundle.verify()


def test_a_bundle_that_is_replaced_loses_the_former_card(carded: Path) -> None:
    bundle = ModelBundle.open(carded)
    weights = (carded / "models" / "model.safetensors").read_bytes()
    assert write_bundle(carded, bundle.metadata, weights).read_card() == ""


def test_another_description_leaves_the_card(carded: Path) -> None:
    bundle = ModelBundle.open(carded)
    assert bundle.described_by(bundle.metadata).read_card() == CARD


def test_a_card_cannot_write_to_the_terminal_s_controls(carded: Path) -> None:
    (carded / "docs" / "README.md").write_bytes(b"plain\x1b]0;title\x07\x1b[31m text\r\n\xff")
    assert ModelBundle.open(carded).read_card() == "plain]0;title[31m text\n\ufffd"


def test_a_card_beyond_reason_is_refused(carded: Path) -> None:
    (carded / "docs" / "README.md").write_bytes(b"x" * (2**18 + 1))
    with pytest.raises(ModelRefused) as caught:
        ModelBundle.open(carded).read_card()
    assert caught.value.code == "MODEL_TOO_LARGE"


def test_the_card_is_shown_with_its_model(carded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", str(carded)]) == 0
    shown = capsys.readouterr().out
    assert "A model" in shown
    assert "IPH" in shown
    assert "https://example.org" in shown
