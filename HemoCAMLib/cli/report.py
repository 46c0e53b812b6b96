"""``hemocam report``: a finished run as a page for people."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.measure.agreement import compare
from HemoCAMLib.report import ReportOptions, write_report
from HemoCAMLib.report.patient import Patient
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run


def report_run(
    run: Path,
    out: Path | None,
    *,
    source: Path | None,
    truth: Path | None,
    mapping: str,
    pdf: bool,
    identified: bool,
    as_json: bool,
) -> None:
    """Writes the report of a run and says where it is.

    A scan that is no longer there costs the pictures, not the report, unless it was named or the patient is wanted.

    Args:
        run: run folder of a finished analysis.
        out: folder for the files; None takes the run folder.
        source: where the scan lies now.
        truth: ground truth to compare with.
        mapping: what the truth's labels mean, as ``hemocam compare`` takes it; empty goes by names.
        pdf: also write a PDF.
        identified: name the patient.
        as_json: print the files as JSON.
    """
    result = Result.load(run)
    ct = None
    try:
        ct = scan_of_run(result, source)
    except InputRefused as error:
        if error.code != "CT_SOURCE_GONE" or identified:
            raise
        messages().print(Text.assemble(("Note: ", "yellow"), f"{error} Without it the report has no pictures."))
    patient = Patient.of(ct) if identified and ct is not None else None
    agreement = compare(run, truth, mapping or None) if truth is not None else None
    files = write_report(
        result,
        out or run,
        ct=ct,
        agreement=agreement,
        patient=patient,
        options=ReportOptions(pdf=pdf),
    )
    if as_json:
        write_json({"files": [str(path) for path in files]})
        return
    for path in files:
        output().print(Text(f"Report  {path}"))
