"""The commands between a dataset and a bundle, and what a bundle is worth: cache, tune, export, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemocam_training.cli.app import Overwrite, app
from hemocam_training.cli.sources import Index, Parts, PhantomSeeds, Root, SourceOptions, SplitFile, Templates
from HemoCAMLib.cli.options import AsJson

Training = Annotated[
    list[Path] | None,
    typer.Option("--training", help="Index that the model learned from; may be repeated.", show_default=False),
]
TrainingParts = Annotated[
    list[str] | None,
    typer.Option(
        "--training-part",
        help="Part of the split that it learned from; may be repeated.",
        show_default="train (and tune)",
    ),
]
Unchecked = Annotated[
    bool, typer.Option("--unchecked", help="Go on where nobody can tell what the model learned from; results say so.")
]
Store = Annotated[Path | None, typer.Option(help="Folder that keeps maps between calls.", show_default=False)]
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Threads of torch.")]


@app.command()
def cache(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the shards.", show_default=False)],
    phantoms: PhantomSeeds = "",
    index: Index = None,
    root: Root = None,
    split: SplitFile = None,
    part: Parts = None,
    templates: Templates = None,
    noise: Annotated[bool, typer.Option("--noise", help="Cache phantoms with scanner noise, not free of it.")] = False,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Rows and columns of the cached slices.")] = 256,
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Processes; 0 takes all cores.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Compare what is cached with its checksums.")] = False,
    as_json: AsJson = False,
) -> None:
    """Preprocess slices once, to shards that training maps into memory; a call that was stopped can be repeated."""
    from hemocam_training.cli.caching import cache_slices

    cache_slices(
        out,
        SourceOptions(phantoms, index, root, split, tuple(part or ()), templates),
        noise=noise,
        size=size,
        workers=workers,
        verify=verify,
        as_json=as_json,
    )


@app.command()
def anatomies(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the heads.", show_default=False)],
    phantoms: PhantomSeeds,
    templates: Templates = None,
    bleeding: Annotated[bool, typer.Option("--bleeding", help="With blood of their own instead.")] = False,
    size: Annotated[int, typer.Option(min=32, max=512, help="Rows and columns, a divisor of 512.")] = 256,
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Processes; 0 takes all cores.")] = 0,
) -> None:
    """Draw heads without blood, on which blood is painted while a training goes on; can be repeated when stopped."""
    from hemocam_training.cli.caching import draw_anatomies

    draw_anatomies(out, phantoms, templates, bleeding=bleeding, size=size, workers=workers)


@app.command()
def tune(
    model: Annotated[Path, typer.Argument(help="Bundle.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Settings to write, a JSON file.", show_default=False)],
    phantoms: PhantomSeeds = "",
    index: Index = None,
    root: Root = None,
    split: SplitFile = None,
    part: Parts = None,
    templates: Templates = None,
    training: Training = None,
    training_part: TrainingParts = None,
    sensitivity: Annotated[
        float | None,
        typer.Option(help="Share of positive slices to call at least.", show_default="largest TPR - FPR"),
    ] = None,
    joint: Annotated[
        bool, typer.Option("--joint/--roc-only", help="Also try stricter class thresholds, with the masks in view.")
    ] = True,
    calibration: Annotated[str, typer.Option(help="platt, temperature or none.")] = "platt",
    mask_scale: Annotated[str, typer.Option(help="absolute or per_image.")] = "absolute",
    refinement: Annotated[
        bool, typer.Option("--refinement/--keep-refinement", help="Search the refinement, or keep the bundle's.")
    ] = True,
    rounds: Annotated[
        int, typer.Option(min=0, help="Rounds in which every setting is then moved, judged by finished masks.")
    ] = 0,
    slices_alone: Annotated[
        int, typer.Option(min=0, help="In these rounds, so many slices of each scan are judged as single slices too.")
    ] = 0,
    negative: Annotated[
        list[Path] | None,
        typer.Option(help="In these rounds, a head CT without hemorrhage; may be repeated.", show_default=False),
    ] = None,
    false_ml: Annotated[float, typer.Option(min=0, help="Most that may be marked in one of them on average.")] = 1.0,
    apply: Annotated[bool, typer.Option("--apply", help="Also write the settings into the bundle.")] = False,
    store: Store = None,
    threads: Threads = 1,
    unchecked: Unchecked = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Choose thresholds, refinement and calibration on scans that the model did not learn from."""
    from hemocam_training.bundle_tuning import TuneOptions
    from hemocam_training.cli.tuning import tune_bundle

    tune_bundle(
        model,
        out,
        SourceOptions(phantoms, index, root, split, tuple(part or ()), templates),
        training or [],
        training_part or ["train"],
        TuneOptions(sensitivity, joint, calibration, mask_scale, refinement, rounds, slices_alone, false_ml),  # type: ignore[arg-type]
        negative or [],
        store=store,
        threads=threads,
        unchecked=unchecked,
        overwrite=overwrite,
        apply=apply,
        as_json=as_json,
    )


@app.command()
def export(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of trainings in order, or weights.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Bundle to write, a folder or .zip.", show_default=False)],
    describe: Annotated[Path, typer.Option("--describe", "-d", help="YAML description.", show_default=False)],
    tuning: Annotated[
        Path | None, typer.Option(help="Settings that hemocam-train tune chose.", show_default=False)
    ] = None,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(help="evaluation.json for figures and card; may be repeated.", show_default=False),
    ] = None,
    version: Annotated[str, typer.Option(help="Instead of the description's.", show_default=False)] = "",
    best: Annotated[bool, typer.Option("--best", help="The check with the best score, not the last.")] = False,
    range_scans: Annotated[
        int, typer.Option(min=-1, help="Training scans to measure; -1 keeps what is known, or measures 60.")
    ] = -1,
    index: Index = None,
    root: Root = None,
    split: SplitFile = None,
    part: Parts = None,
    templates: Templates = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write a bundle with its model card, and compare it with the training's own numbers."""
    from hemocam_training.cli.exporting import export_model

    export_model(
        runs,
        out,
        describe,
        tuning,
        evaluation or [],
        version,
        range_scans,
        SourceOptions("", index, root, split, tuple(part or ()), templates),
        best=best,
        overwrite=overwrite,
        as_json=as_json,
    )


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Bundle.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.", show_default=False)],
    phantoms: PhantomSeeds = "",
    index: Index = None,
    root: Root = None,
    split: SplitFile = None,
    part: Parts = None,
    templates: Templates = None,
    training: Training = None,
    training_part: TrainingParts = None,
    variants: Annotated[
        Path | None,
        typer.Option(help="JSON file: by name a refinement or mask settings, compared too.", show_default=False),
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Measure smoothed HU > 46 beside the model.")] = True,
    draws: Annotated[int, typer.Option(min=100, max=100_000, help="Samples of patients for intervals.")] = 1000,
    into_card: Annotated[
        bool, typer.Option("--into-card", help="Put the figures into the bundle and its card.")
    ] = False,
    store: Store = None,
    threads: Threads = 1,
    unchecked: Unchecked = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure a bundle on scans that it was not made with: slices, masks, volumes, with intervals over patients."""
    from hemocam_training.cli.evaluating import evaluate_bundle

    evaluate_bundle(
        model,
        out,
        SourceOptions(phantoms, index, root, split, tuple(part or ()), templates),
        training or [],
        training_part or ["train", "tune"],
        variants,
        store=store,
        threads=threads,
        draws=draws,
        baseline=baseline,
        unchecked=unchecked,
        into_card=into_card,
        overwrite=overwrite,
        as_json=as_json,
    )
