"""``hemocam models``: the bundles on this computer. Needs no torch."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markdown import Markdown
from rich.table import Column, Table
from rich.text import Text

from HemoCAMLib.cli.streams import output, write_json
from HemoCAMLib.model import ModelBundle, find_model, shipped_models


def list_models(*, as_json: bool) -> None:
    """Prints the models that ship."""
    bundles = shipped_models()
    if as_json:
        write_json({"models": [_summary(bundle) for bundle in bundles]})
        return
    table = Table(Column("Name", no_wrap=True), "Version", "Network", "Input", "Size", box=SIMPLE_HEAD, pad_edge=False)
    for bundle in bundles:
        metadata = bundle.metadata
        table.add_row(
            Text(metadata.name),
            Text(metadata.version),
            Text(_network(bundle)),
            "×".join(map(str, metadata.input_size)),
            f"{_size_mb(bundle):.1f} MB",
        )
    output().print(table)
    for bundle in bundles:
        output().print(Text(f"{bundle.metadata.name}: {bundle.metadata.intended_use}"))


def show_model(name_or_path: str, *, as_json: bool) -> None:
    """Prints everything that a model says of itself."""
    bundle = find_model(name_or_path or None)
    if as_json:
        write_json({**_summary(bundle), "hemocam": bundle.metadata.hemocam_fields(), "card": bundle.read_card()})
        return
    metadata = bundle.metadata
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in {
        "Name": f"{metadata.name} {metadata.version}",
        "Description": metadata.description,
        "Intended use": metadata.intended_use,
        "Authors": metadata.authors,
        "Copyright": metadata.copyright,
        "Network": _network(bundle),
        "Map layer": metadata.map_layer,
        "Input": f"{metadata.input_size[0]}×{metadata.input_size[1]}, {metadata.neighbours} slices, window centre "
        f"{metadata.window_center_hu:g} width {metadata.window_width_hu:g} HU",
        "Class thresholds": _pairs(metadata.class_thresholds),
        **{f"Mask thresholds, {scale}": _pairs(values) for scale, values in metadata.mask_thresholds.items()},
        "Mask scale": metadata.mask_scale,
        "Smallest lesion": f"{metadata.minimum_volume_ml:g} mL",
        "Training data": "\n".join(_pairs(data) for data in metadata.training_data),
        "Figures": _pairs(metadata.metrics),
        "Weights": f"{_size_mb(bundle):.1f} MB, SHA-256 {metadata.weights_sha256}",
        "Path": str(bundle.path),
    }.items():
        if value:
            table.add_row(key, Text(value))
    output().print(table)
    card = bundle.read_card()
    if card:
        # A link's address is shown, never hidden behind other words.
        output().print(Markdown(card, hyperlinks=False))


def verify_models(names_or_paths: list[str], *, as_json: bool) -> None:
    """Checks models, all shipped ones where none is named.

    Raises:
        ModelRefused: the first that is not intact.
    """
    bundles = [find_model(name) for name in names_or_paths] or shipped_models()
    verified = []
    for bundle in bundles:
        bundle.verify()
        verified.append({**_summary(bundle), "intact": True})
        if not as_json:
            output().print(Text(f"{bundle.metadata.name} {bundle.metadata.version}: intact"))
    if as_json:
        write_json({"models": verified})


def _summary(bundle: ModelBundle) -> dict[str, Any]:
    metadata = bundle.metadata
    return {
        "name": metadata.name,
        "version": metadata.version,
        "path": str(bundle.path),
        "architecture": metadata.architecture,
        "classes": list(metadata.subtypes),
        "size_mb": round(_size_mb(bundle), 3),
        "weights_sha256": metadata.weights_sha256,
        "intended_use": metadata.intended_use,
    }


def _network(bundle: ModelBundle) -> str:
    encoder = bundle.metadata.arguments.get("encoder")
    return f"{bundle.metadata.architecture}, {encoder}" if encoder else bundle.metadata.architecture


def _size_mb(bundle: ModelBundle) -> float:
    files = [bundle.path] if bundle.path.is_file() else [path for path in bundle.path.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6


def _pairs(values: Any) -> str:
    """Nested plain values as one line of ``name value`` pairs."""
    if not isinstance(values, dict):
        return f"{values:g}" if isinstance(values, float) else str(values)
    return ", ".join(
        f"{key} ({_pairs(v)})" if isinstance(v, dict) else f"{key} {_pairs(v)}" for key, v in values.items()
    )
