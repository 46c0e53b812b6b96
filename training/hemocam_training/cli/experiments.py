"""What the command for experiments does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from hemocam_training.datasets import ScanIndex
from hemocam_training.experiments.catalogue import EXPERIMENTS, DataSource, run_experiment
from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model.shipped import find_model


def list_experiments(*, as_json: bool) -> None:
    """Names, titles and configurations."""
    if as_json:
        write_json([{"name": one.name, "title": one.title} for one in EXPERIMENTS.values()])
        return
    for one in EXPERIMENTS.values():
        output().print(Text.assemble((one.name, "bold"), f"  {one.title}"))


def run(
    name: str,
    out: Path,
    config: Path | None,
    data: Sequence[Path],
    roots: Sequence[Path],
    *,
    quick: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Run an experiment and say where its page is."""
    if (out / "index.html").exists() and not overwrite:
        raise UsageError(
            "USAGE_FILE_EXISTS", f"{out.name} holds a report already.", "Name another folder, or --overwrite."
        )
    if len(roots) > len(data):
        raise UsageError("USAGE_DATA", "There are more folders than indexes.", "Give one --root for every --data.")
    folders = [*roots, *(path.parent for path in data[len(roots) :])]
    sources = [DataSource(ScanIndex.read(path), root) for path, root in zip(data, folders, strict=True)]
    console = messages()
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)

        def told(sentence: str) -> None:
            bar.update(task, description=sentence)
            if not console.is_terminal:
                console.print(Text(sentence))

        page = run_experiment(name, out, config=config, quick=quick, sources=sources, progress=told)
    if as_json:
        write_json({"experiment": name, "quick": quick, "page": str(page)})
        return
    output().print(f"The report is {page}.")


def compare_maps(
    model: str,
    out: Path,
    methods: Sequence[str] | None,
    layers: Sequence[str] | None,
    rules: Sequence[str] | None,
    tuning_scans: int,
    test_scans: int,
    slices_per_scan: int,
    threads: int,
    *,
    add: bool,
    page: Path | None,
    name: str,
    quick: bool,
) -> None:
    """Compare activation maps of a bundle on phantoms and print the tables."""
    from hemocam_training.experiments.cam_benchmark.bundles import BenchmarkOptions, run_benchmark
    from hemocam_training.experiments.cam_benchmark.compare import Comparison

    comparison = Comparison(
        tuple(methods or Comparison.methods),
        tuple(layers or Comparison.layers),
        tuple(dict.fromkeys(("fixed", *(rules or Comparison.rules)))),
    )
    options = BenchmarkOptions(comparison, tuning_scans, test_scans, slices_per_scan=slices_per_scan, threads=threads)
    tables = run_benchmark(
        find_model(model),
        options.quick() if quick else options,
        out,
        add=add,
        page=page,
        name=name,
        progress=lambda text: messages().print(Text(text)),
    )
    output().print(Text(tables))
