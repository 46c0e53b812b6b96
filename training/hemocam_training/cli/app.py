"""The commands and their options; what they do is imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from HemoCAMLib import __version__
from HemoCAMLib.cli.options import AsJson, Model

app = typer.Typer(
    name="hemocam-train",
    help="Datasets, splits and training of HemoCAM's models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hemocam-train {__version__}")
        raise typer.Exit


@app.callback()
def hemocam_train(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and technical details of errors.")] = False,
) -> None:
    # Both options act before or after every command: see the callback and HemoCAMLib.cli.outcome.run_command.
    del version, debug


@app.command()
def datasets(as_json: AsJson = False) -> None:
    """List the datasets that can be prepared, with their layouts and options."""
    from hemocam_training.cli.data import list_datasets

    list_datasets(as_json=as_json)


@app.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="Name, as `hemocam-train datasets` lists it.", show_default=False)],
    root: Annotated[Path, typer.Option("--root", "-r", help="Folder of the dataset.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Index to write, a Parquet file.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="Option of the dataset; may be repeated."),
    ] = None,
    processes: Annotated[int, typer.Option(min=0, max=1024, help="Scans decoded at once; 0 takes all cores.")] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Check what is there of a dataset, say what is missing or damaged, and write an index of the rest."""
    from hemocam_training.cli.data import prepare_dataset

    prepare_dataset(dataset, root, out, settings or [], processes, overwrite=overwrite, as_json=as_json)


@app.command()
def split(
    indexes: Annotated[list[Path], typer.Argument(metavar="INDEX...", help="Indexes to split.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Split to write, a JSON file.", show_default=False)],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHARE",
            help="A part and its share; may be repeated.",
            show_default="train .7, tune .15, test .15",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=0, max=100, help="Make folds of a cross validation instead.")] = 0,
    supplied: Annotated[bool, typer.Option("--supplied", help="Take the folds that the dataset comes with.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Another seed gives another split.")] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Divide patients into parts or folds with equal shares of every subtype."""
    from hemocam_training.cli.data import make_split

    make_split(
        indexes, out, part or [], folds=folds, supplied=supplied, seed=seed, overwrite=overwrite, as_json=as_json
    )


@app.command("check-leak")
def check_leak(
    training: Annotated[
        list[Path], typer.Option("--training", "-t", help="Index trained on; may be repeated.", show_default=False)
    ],
    evaluation: Annotated[Path, typer.Option("--evaluation", "-e", help="Index to evaluate on.", show_default=False)],
    split: Annotated[
        Path | None, typer.Option(help="Split of the training indexes, and of the evaluation if it is one of them.")
    ] = None,
    training_part: Annotated[
        list[str] | None, typer.Option(help="Part of the split trained on; may be repeated.", show_default="train")
    ] = None,
    evaluation_part: Annotated[
        list[str] | None, typer.Option(help="Part of the split to evaluate on; may be repeated.", show_default="test")
    ] = None,
    clean_training: Annotated[
        Path | None,
        typer.Option(help="Write the one training index without the shared patients here, and end without an error."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Refuse an evaluation on scans that were trained on, by study, patient, file and image."""
    from hemocam_training.cli.data import look_for_leak

    look_for_leak(
        training,
        evaluation,
        split,
        training_part or ["train"],
        evaluation_part or ["test"],
        clean_training,
        overwrite=overwrite,
        as_json=as_json,
    )


@app.command()
def fit(
    config: Annotated[
        Path,
        typer.Option("--config", "-c", help="YAML file, or the name of one that comes with it.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the training.", show_default=False)],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Setting to replace, as stages.0.steps=100; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted training stood.")] = False,
    until_step: Annotated[
        int | None, typer.Option(min=1, help="Stop at the first check of a stage after so many steps.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a network from slice labels by the settings in a file."""
    from hemocam_training.cli.learning import run_fit

    run_fit(config, out, settings or [], resume=resume, until_step=until_step, as_json=as_json)


@app.command()
def experiments(as_json: AsJson = False) -> None:
    """List the experiments that can be run."""
    from hemocam_training.cli.experiments import list_experiments

    list_experiments(as_json=as_json)


@app.command()
def experiment(
    name: Annotated[str, typer.Argument(help="Name, as `hemocam-train experiments` lists it.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="YAML file.", show_default="the one that comes with it")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small phantoms, seconds of training: shows that it runs, nothing else.")
    ] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", "-d", help="Index of a prepared dataset; may be repeated.", show_default="phantoms"),
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root", "-r", help="Folder of that dataset's files; one for every index.", show_default="the index's"
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Run one of the papers' experiments: tables, figures and one page."""
    from hemocam_training.cli.experiments import run

    run(name, out, config, data or [], root or [], quick=quick, overwrite=overwrite, as_json=as_json)


@app.command("benchmark-cams")
def benchmark_cams(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the tables.", show_default=False)],
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="Map method; may be repeated.", show_default="all")
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", help="Preset or module; may be repeated.", show_default="[-1] [-2] [-3]"),
    ] = None,
    rules: Annotated[
        list[str] | None,
        typer.Option("--rule", help="otsu@brain, percentile:90 …; may be repeated.", show_default="seven of them"),
    ] = None,
    tuning_scans: Annotated[int, typer.Option(min=1, help="Phantoms that thresholds are chosen on.")] = 28,
    test_scans: Annotated[int, typer.Option(min=1, help="Phantoms that are scored.")] = 40,
    slices_per_scan: Annotated[int, typer.Option(min=1, help="Bleeding slices of each, drawn by chance.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 2,
    add: Annotated[bool, typer.Option("--add", help="Keep what the folder holds of other methods and layers.")] = False,
    page: Annotated[Path | None, typer.Option(help="Page whose marked tables are replaced.")] = None,
    name: Annotated[str, typer.Option(help="Of the model in the page's marks.")] = "classifier",
    quick: Annotated[bool, typer.Option("--quick", help="A few slices, to see that everything runs.")] = False,
) -> None:
    """Compare activation map methods, layers and mask rules of a model on held-out phantoms."""
    from hemocam_training.cli.experiments import compare_maps

    compare_maps(
        model, out, methods, layers, rules, tuning_scans, test_scans, slices_per_scan, threads,
        add=add, page=page, name=name, quick=quick,
    )  # fmt: skip
