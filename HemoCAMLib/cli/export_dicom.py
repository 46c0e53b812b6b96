"""``hemocam export-dicom``: a finished run as DICOM objects."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.export import export_dicom


def export_run(run: Path, source: Path, out: Path, *, heat_maps: bool, overwrite: bool, as_json: bool) -> None:
    """Writes the objects and says where they are.

    Raises:
        HemoCAMError: the run, its source or the output folder is refused.
    """
    files = export_dicom(run, source, out, heat_maps, overwrite=overwrite)
    if as_json:
        write_json(
            {
                "segmentation": None if files.segmentation is None else str(files.segmentation),
                "report": str(files.report),
                "maps": {name: str(path) for name, path in files.maps.items()},
                "notices": [{"code": notice.code, "message": notice.message} for notice in files.notices],
            }
        )
        return
    for notice in files.notices:
        messages().print(Text.assemble(("Note: ", "yellow"), notice.message))
    console = output()
    if files.segmentation is not None:
        console.print(Text(f"Segmentation  {files.segmentation}"))
    console.print(Text(f"Report        {files.report}"))
    for name, path in files.maps.items():
        console.print(Text(f"Map of {name}    {path}"))
    console.print(Text("Research software, not for clinical use.", style="dim"))
