"""From a template and values to a page, and from a page to files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from HemoCAMLib.errors import UsageError
from HemoCAMLib.report.pdf import write_pdf
from HemoCAMLib.resources import resource_folder


def rendered(template: str, **values: Any) -> str:
    """A page of ``Resources/report`` with its values; text in them cannot become markup.

    Raises:
        UsageError: ``USAGE_REPORT_LIBRARY``, Jinja is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise UsageError(
            "USAGE_REPORT_LIBRARY",
            "A library that reports are made with is not installed.",
            "Install it with: pip install 'hemocam[report]'.",
            str(error),
        ) from error
    environment = Environment(
        loader=FileSystemLoader(str(resource_folder("report"))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def write_page(html: str, folder: Path, name: str, *, pdf: bool) -> list[Path]:
    """Writes ``name.html``, and ``name.pdf`` where asked for; gives the files.

    Raises:
        UsageError: ``USAGE_OUT``, the folder cannot be written; ``USAGE_REPORT_LIBRARY``, PDF cannot be made here.
    """
    files = [folder / f"{name}.html"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files[0].write_text(html, encoding="utf-8")
        if pdf:
            files.append(folder / f"{name}.pdf")
            write_pdf(html, files[1])
    except OSError as error:
        raise UsageError(
            "USAGE_OUT", "The report cannot be written.", "Choose a folder on a disk with room.", str(error)
        ) from error
    return files
