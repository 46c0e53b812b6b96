"""The commands and their options; what they do is imported when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from HemoCAMLib import __version__
from HemoCAMLib.cli import result_commands
from HemoCAMLib.cli.options import AsJson, Mask, Model, Threshold

app = typer.Typer(
    name="hemocam",
    help="From slice labels to hemorrhage volumes: a head CT in, millilitres of five hemorrhage subtypes out.\n\n"
    "Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models: which there are, what they say of themselves, whether they are intact.")
app.add_typer(models_app, name="models", no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hemocam {__version__}")
        raise typer.Exit


@app.callback()
def hemocam(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and technical details of errors.")] = False,
) -> None:
    # Both options act before or after every command: see the callback and outcome.run_command.
    del version, debug


@app.command()
def analyze(
    scan: Annotated[
        Path, typer.Argument(metavar="INPUT", help="DICOM folder or file, NIfTI or NRRD.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Run folder; an unfinished run in it goes on.", show_default=False)
    ],
    model: Annotated[str, typer.Option(help="Shipped model or path of a bundle.", show_default="shipped")] = "",
    device: Annotated[str, typer.Option(metavar="[auto|cpu|cuda|mps]", help="What to compute on.")] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="[auto|float32|bfloat16|float16]", help="Number format of the network.")
    ] = "auto",
    backend: Annotated[
        str,
        typer.Option(
            metavar="[auto|torch|openvino]", help="What runs the network; OpenVINO: CPU and default maps only."
        ),
    ] = "auto",
    mask: Mask = None,
    threshold: Threshold = "",
    map_method: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="METHOD",
            help="Activation map to make masks from, such as hires-cam, layer-cam, ablation-cam or gradcam:NAME.",
            show_default="local-logit",
        ),
    ] = "",
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Layer of the map: a module name, [-1], [-2], [-3]; may be repeated.", show_default="last"),
    ] = None,
    fusion: Annotated[str, typer.Option(metavar="[mean|max|product]", help="How several layers become one map.")] = "",
    explain: Annotated[
        str, typer.Option(metavar="[called|all]", help="Maps of subtypes above their gate, or of every class.")
    ] = "called",
    batch_size: Annotated[int, typer.Option(min=0, max=1024, help="Slices per forward pass; 0 chooses.")] = 0,
    threads: Annotated[int, typer.Option(min=0, max=1024, help="CPU threads; 0 takes all cores.")] = 0,
    series: Annotated[str, typer.Option(metavar="UID", help="Series to take from a folder that holds several.")] = "",
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help="Go on where slices are missing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another analysis in the run folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find hemorrhage in a head CT and measure it in millilitres."""
    from HemoCAMLib.cli.analyze import analyze_scan
    from HemoCAMLib.cli.map_option import map_from_options
    from HemoCAMLib.cli.mask_option import parse_mask

    analyze_scan(
        scan,
        out,
        as_json=as_json,
        overwrite=overwrite,
        model=model,
        device=device,
        precision=precision,
        backend=backend,
        mask=parse_mask(mask or [], threshold),
        map=map_from_options(map_method, layer or [], fusion, explain),
        batch_size=batch_size,
        threads=threads,
        series_uid=series,
        allow_gaps=allow_gaps,
    )


@app.command()
def sample(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write a synthetic head CT, a tilted DICOM series with hemorrhage, and the truth about it."""
    from HemoCAMLib.cli.sample import make_sample

    make_sample(out, as_json=as_json)


app.command()(result_commands.relabel)
app.command("compare")(result_commands.compare_segmentations)
app.command("export-dicom")(result_commands.export_dicom)
app.command()(result_commands.report)
app.command()(result_commands.followup)


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models that ship."""
    from HemoCAMLib.cli.models import list_models

    list_models(as_json=as_json)


@models_app.command("show")
def show_model(model: Model = "", as_json: AsJson = False) -> None:
    """Show what a model says of itself: training data, thresholds, figures, intended use."""
    from HemoCAMLib.cli.models import show_model

    show_model(model, as_json=as_json)


@models_app.command("verify")
def verify_models(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names of shipped models, or paths of bundles.", show_default="all shipped"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that models are complete and their weights are the ones that were published."""
    from HemoCAMLib.cli.models import verify_models

    verify_models(models or [], as_json=as_json)


@models_app.command("check-precision")
def check_precision(
    model: Model,
    scans: Annotated[
        list[Path], typer.Option("--scans", "-s", help="Scan to compare on; may be repeated.", show_default=False)
    ],
    precision: Annotated[str, typer.Option(metavar="[bfloat16|float16]", help="Number format.")] = "bfloat16",
    device: Annotated[str, typer.Option(metavar="[cpu|cuda|mps]", help="What to compute on.")] = "cpu",
    backend: Annotated[str, typer.Option(metavar="[torch|openvino]", help="What runs the network.")] = "torch",
    dice_bound: Annotated[float, typer.Option(min=0, max=1, help="Largest change of Dice to accept.")] = 0.02,
    volume_bound_ml: Annotated[float, typer.Option(min=0, help="Largest change of a volume to accept, in mL.")] = 0.5,
    write: Annotated[bool, typer.Option("--write", help="Write the outcome into the model's description.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a model's results in half precision with those in full precision."""
    from HemoCAMLib.cli.precision import check_precision

    check_precision(
        model,
        scans,
        dtype=precision,
        device=device,
        backend=backend,
        dice_bound=dice_bound,
        volume_bound_ml=volume_bound_ml,
        write=write,
        as_json=as_json,
    )


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is installed and missing, which devices there are, and what would be slow."""
    from HemoCAMLib.cli.doctor import examine

    raise typer.Exit(examine(as_json=as_json))
