"""Commands on finished runs: other thresholds, agreement, DICOM, report, follow-up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from HemoCAMLib.cli.options import AsJson, Mask, Run, Source, Threshold


def relabel(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", help="New run folder; RUN stays as it is.", show_default=False)],
    mask: Mask = None,
    threshold: Threshold = "",
    source: Source = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another analysis in the new folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make new labels and volumes from a finished run with other thresholds, without the network."""
    from HemoCAMLib.cli.mask_option import parse_mask
    from HemoCAMLib.cli.relabel import relabel_run

    relabel_run(run, out, mask=parse_mask(mask or [], threshold), source=source, overwrite=overwrite, as_json=as_json)


def compare_segmentations(
    prediction: Annotated[
        Path | None,
        typer.Argument(help="Run folder, or a segmentation: NIfTI, NRRD, .seg.nrrd, DICOM SEG.", show_default=False),
    ] = None,
    truth: Annotated[
        Path | None, typer.Argument(help="Ground truth: NIfTI, NRRD, .seg.nrrd, DICOM SEG.", show_default=False)
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="CSV of many cases instead: prediction,truth[,patient][,map].", show_default=False),
    ] = None,
    mapping: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="NAME|FILE",
            help="What the truth's labels mean: hemocam, bhsd, physionet, instance, totalsegmentator, blast-ct, binary "
            'or a JSON file such as {"1": "EDH"}.',
            show_default="by names",
        ),
    ] = "",
    prediction_map: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The same for the prediction.", show_default="by names, or hemocam")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for JSON, CSV and figures.", show_default=False)
    ] = None,
    overlap_only: Annotated[
        bool, typer.Option("--overlap-only", help="Leave out distances, lesions and slices.")
    ] = False,
    lesion_iou: Annotated[
        float, typer.Option(min=0, max=1, help="IoU from which lesions match; 0 matches by touch.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap over patients.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare a prediction with ground truth: overlap, distances, lesions, volumes; one scan or a table of them.

    Exit code 3 says that the pair, or at least one case of the table, was refused.
    """
    from HemoCAMLib.cli.compare import compare_from_command_line

    code = compare_from_command_line(
        prediction,
        truth,
        table=table,
        mapping=mapping,
        prediction_mapping=prediction_map,
        out=out,
        overlap_only=overlap_only,
        lesion_iou=lesion_iou,
        seed=seed,
        as_json=as_json,
    )
    raise typer.Exit(code)


def export_dicom(
    run: Run,
    source: Annotated[
        Path, typer.Option("--source", "-s", help="Folder with the DICOM series that was analysed.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the DICOM objects.", show_default=False)],
    heat_maps: Annotated[
        bool, typer.Option("--heat-maps", help="Write the activation maps too, as parametric maps.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a former export in that folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a finished run as DICOM: segmentation, structured report, activation maps."""
    from HemoCAMLib.cli.export_dicom import export_run

    export_run(run, source, out, heat_maps=heat_maps, overwrite=overwrite, as_json=as_json)


def report(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the files.", show_default="the run folder")
    ] = None,
    source: Source = None,
    truth: Annotated[
        Path | None, typer.Option(help="Ground truth to compare with, as for compare.", show_default=False)
    ] = None,
    mapping: Annotated[
        str, typer.Option("--map", metavar="NAME|FILE", help="What the truth's labels mean.", show_default="by names")
    ] = "",
    pdf: Annotated[bool, typer.Option("--pdf", help="Write a PDF too.")] = False,
    identified: Annotated[
        bool, typer.Option("--identified", help="Name the patient; without it no patient data is written.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a page for people: volumes, probabilities, key slices, quality, comparison."""
    from HemoCAMLib.cli.report import report_run

    report_run(run, out, source=source, truth=truth, mapping=mapping, pdf=pdf, identified=identified, as_json=as_json)


def followup(
    first: Annotated[Path, typer.Argument(metavar="RUN1", help="Run folder of the earlier scan.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="RUN2", help="Run folder of the later scan.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.", show_default=False)],
    first_source: Annotated[
        Path | None, typer.Option("--source1", help="Where the earlier scan lies now.", show_default="where it was")
    ] = None,
    second_source: Annotated[
        Path | None, typer.Option("--source2", help="Where the later scan lies now.", show_default="where it was")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write a PDF too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two scans of one patient: aligned, change in mL and percent, expansion, side by side."""
    from HemoCAMLib.cli.followup import follow_up_runs

    follow_up_runs(first, second, out, sources=(first_source, second_source), pdf=pdf, as_json=as_json)
