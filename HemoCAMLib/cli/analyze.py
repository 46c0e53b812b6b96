"""``hemocam analyze``: one scan, live progress, the table of volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from HemoCAMLib.cli.progress import ProgressView
from HemoCAMLib.cli.result_table import print_result
from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.ct.reader import existing_path
from HemoCAMLib.model import find_model
from HemoCAMLib.run.api import analyze
from HemoCAMLib.run.job import AnalyzeJob


def analyze_scan(scan: Path, out: Path, *, as_json: bool, overwrite: bool, **settings: Any) -> None:
    """Analyses a scan and prints what was found.

    Args:
        scan: DICOM folder or file, NIfTI or NRRD.
        out: run folder.
        as_json: print the content of ``result.json`` instead of the table.
        overwrite: replace another analysis in ``out``.
        settings: fields of :class:`~HemoCAMLib.run.job.AnalyzeJob`.

    Raises:
        HemoCAMError: the scan or model is refused, the worker fails, or the user cancels.
    """
    # What can be refused at once is refused before a process is started and a folder made.
    AnalyzeJob.from_dict(settings)
    existing_path(scan)
    find_model(settings.get("model") or None)
    with ProgressView(messages()) as view:
        result = analyze(scan, out, on_event=view.on_event, overwrite=overwrite, **settings)
    if as_json:
        write_json(result.fields)
    else:
        print_result(result, output())
