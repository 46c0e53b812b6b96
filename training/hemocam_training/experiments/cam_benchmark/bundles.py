"""How well each activation map method localises: methods × layers × mask rules on held-out phantoms.

    hemocam-train benchmark-cams RUN/bundle --out MAPS
    hemocam-train benchmark-cams RUN/bundle --out MAPS --quick

Only slices with hemorrhage are scored, and each map of a class only where the slice shows that class: this is about
where, not about whether. Fixed thresholds are chosen per method, layer and class on phantoms that are not scored.
Phantoms are synthetic: the figures compare methods, they do not predict what any of them does on patients.

Writes ``scores.csv`` (everything), ``tables.md`` (methods by layers, as in the CAM benchmark paper) and
``settings.json`` to the folder; with ``--page docs/which-map.md --name classifier`` also the tables of that page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hemocam_training.experiments.cam_benchmark.compare import Comparison, Row, compare
from hemocam_training.experiments.cam_benchmark.page import fill_page, report_parts
from hemocam_training.experiments.cam_benchmark.slices import BenchmarkSlice, bleeding_slices, scans_of
from hemocam_training.experiments.cam_benchmark.tables import read_csv, write_csv
from hemocam_training.scan_sources import PhantomSource
from hemocam_training.seeds import TEST_SEED, TUNING_SEED
from HemoCAMLib.cam import method_names
from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.registry import load_network


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to compare on what.

    Attributes:
        comparison: methods, layers, rules.
        tuning_scans, test_scans: how many phantoms.
        first_seed: of the test phantoms.
        slices_per_scan: at most, drawn by chance among those with hemorrhage.
        threads: of torch.
    """

    comparison: Comparison = field(default_factory=Comparison)
    tuning_scans: int = 28
    test_scans: int = 40
    first_seed: int = TEST_SEED
    slices_per_scan: int = 3
    threads: int = 2

    @property
    def test_source(self) -> PhantomSource:
        """The test phantoms."""
        return PhantomSource(self.first_seed, self.test_scans)

    def quick(self) -> BenchmarkOptions:
        """The same with so little that it only shows that everything runs."""
        comparison = replace(self.comparison, layers=self.comparison.layers[:2], draws=50, slow_step=2)
        return replace(self, comparison=comparison, tuning_scans=3, test_scans=3, slices_per_scan=2)

    @property
    def registered(self) -> Comparison:
        """The comparison without methods that are not there."""
        return replace(self.comparison, methods=tuple(m for m in self.comparison.methods if m in method_names()))


def benchmark_slices(options: BenchmarkOptions) -> tuple[list[BenchmarkSlice], list[BenchmarkSlice]]:
    """Slices for tuning and slices to score; no phantom is in both, or was trained on."""
    tuning, test = (
        list(bleeding_slices(scans_of(source), options.slices_per_scan))
        for source in (PhantomSource(TUNING_SEED, options.tuning_scans), options.test_source)
    )
    return tuning, test


def benchmark(
    bundle: ModelBundle,
    options: BenchmarkOptions,
    slices: tuple[Sequence[BenchmarkSlice], Sequence[BenchmarkSlice]] | None = None,
    progress: Callable[[str], None] = print,
) -> list[Row]:
    """The comparison for one model.

    Args:
        bundle: any architecture whose classes are :data:`~HemoCAMLib.subtypes.CLASS_NAMES`.
        options: what.
        slices: from :func:`benchmark_slices`, where several models share them.
        progress: told what is done.
    """
    torch.set_num_threads(options.threads)
    network = load_network(bundle)
    tuning, test = slices or benchmark_slices(options)
    start = time.monotonic()
    return compare(
        network,
        bundle.metadata.stack_settings,
        options.registered,
        tuning,
        test,
        lambda text: progress(f"{(time.monotonic() - start) / 60:5.1f} min  {text}"),
    )


def report(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    titles = {
        "layers": "Methods by layers",
        "best": "Each method at its best layer",
        "subtypes": "Dice by subtype",
        "rules": "Dice by mask rule",
        "subset": "Dice on the slices that every method saw",
    }
    parts = report_parts(rows, settings)
    return "\n\n".join([parts["data"], *(f"### {title}\n\n{parts[name]}" for name, title in titles.items())]) + "\n"


def merged(former: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """Rows of both, the newer where a method was compared at a layer twice."""
    renewed = {(row.method, row.layer) for row in rows}
    return [*(row for row in former if (row.method, row.layer) not in renewed), *rows]


def settings_of(bundle: ModelBundle, options: BenchmarkOptions, rows: Sequence[Row]) -> dict[str, Any]:
    """What the figures were made with."""
    metadata, comparison = bundle.metadata, options.registered
    compared: dict[str, Any] = {name: sorted(getattr(comparison, name)) for name in ("slow", "layerless")}
    # Rows may come from several runs into one folder.
    for name, field_of in (("methods", "method"), ("layers", "layer"), ("rules", "rule")):
        compared[name] = list(dict.fromkeys(getattr(row, field_of) for row in rows))
    return {
        "data": "held-out synthetic head CTs, slices with hemorrhage",
        "model": {
            "name": metadata.name,
            "version": metadata.version,
            "architecture": {"name": metadata.architecture, **metadata.arguments},
            "input_size": list(metadata.input_size),
            "weights_sha256": metadata.weights_sha256,
        },
        "options": {**asdict(options), "comparison": {**asdict(comparison), **compared}},
        "slices": max(row.slices for row in rows),
        "scans": max(row.scans for row in rows),
    }


def run_benchmark(
    bundle: ModelBundle,
    options: BenchmarkOptions,
    out: Path,
    *,
    add: bool = False,
    page: Path | None = None,
    name: str = "classifier",
    progress: Callable[[str], None] = print,
) -> str:
    """Compares, writes the folder and gives the tables as Markdown.

    Args:
        bundle: the model.
        options: what.
        out: for ``scores.csv``, ``tables.md`` and ``settings.json``.
        add: keep what the folder holds of other methods and layers.
        page: a page whose marked tables are replaced.
        name: of the model in the page's marks.
        progress: told what is done.
    """
    rows = benchmark(bundle, options, progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    if add and (out / "scores.csv").exists():
        rows = merged(read_csv(out / "scores.csv"), rows)
    settings = settings_of(bundle, options, rows)
    tables = report(rows, settings)
    write_csv(rows, out / "scores.csv")
    (out / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    (out / "tables.md").write_text(tables, encoding="utf-8")
    if page:
        fill_page(page, name, out)
    return tables
