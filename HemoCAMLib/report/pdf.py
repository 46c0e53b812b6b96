"""From the page to PDF."""

from __future__ import annotations

import logging
from pathlib import Path

from HemoCAMLib.errors import UsageError


def write_pdf(html: str, path: Path) -> None:
    """Writes a page as PDF, A4, with the page's own print rules; nothing is fetched from anywhere.

    Raises:
        UsageError: ``USAGE_REPORT_LIBRARY``, WeasyPrint or the Pango library that it needs is not installed.
    """
    try:
        import weasyprint
    except (ImportError, OSError) as error:
        # WeasyPrint itself raises OSError where Pango is missing.
        raise UsageError(
            "USAGE_REPORT_LIBRARY",
            "PDF cannot be written here: WeasyPrint, or the Pango library it needs, is not installed.",
            "Install them, or print the HTML page to PDF from a browser.",
            str(error),
        ) from error
    # What it says of unknown style rules is of no use to anybody here.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    only_data = weasyprint.urls.URLFetcher(allowed_protocols=("data",))
    weasyprint.HTML(string=html, url_fetcher=only_data).write_pdf(str(path))
