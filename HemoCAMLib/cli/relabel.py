"""``hemocam relabel``: other thresholds for a finished run, without the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from HemoCAMLib.cli.result_table import print_result
from HemoCAMLib.cli.streams import output, write_json
from HemoCAMLib.run.relabel_run import relabel


def relabel_run(
    run: Path, out: Path, *, mask: dict[str, Any], source: Path | None, overwrite: bool, as_json: bool
) -> None:
    """Labels a run anew and prints what was found.

    Raises:
        HemoCAMError: the run, its scan, the settings or the output folder is refused.
    """
    result = relabel(run, out, mask=mask, source=source, overwrite=overwrite)
    if as_json:
        write_json(result.fields)
    else:
        print_result(result, output())
