"""What an experiment found, and how it is written to a folder."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from hemocam_training.experiments.reporting.figures import Figure
from hemocam_training.experiments.reporting.tables import Table
from HemoCAMLib.errors import UsageError

#: Packages whose versions a result depends on.
PACKAGES = ("torch", "timm", "numpy", "scipy", "scikit-image", "scikit-learn", "monai")

QUICK_NOTE = (
    "This is a quick run: small synthetic images, a network trained for seconds, few cases. It shows that every step "
    "runs and what the tables look like. None of its numbers says anything about any method or any patient."
)


@dataclass(frozen=True, eq=False)
class Section:
    """One part of a page.

    Attributes:
        title: its heading.
        text: paragraphs before its tables and figures.
        tables, figures: in order; tables come first.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """The outcome of an experiment.

    Attributes:
        title: of the page.
        question: what the experiment asks, in a sentence or two.
        data: what it was run on: source, patients, slices, split.
        sections: tables and figures.
        limits: what the numbers do not say, a sentence each.
        settings: plain values, as in the configuration file, so that the run can be repeated from the page.
        quick: numbers of this run mean nothing; the page says so.
        sources: papers and where in them.
    """

    title: str
    question: str
    data: Sequence[str]
    sections: Sequence[Section]
    limits: Sequence[str]
    settings: Mapping[str, Any]
    quick: bool
    sources: Sequence[str] = ()

    @property
    def tables(self) -> list[Table]:
        return [table for section in self.sections for table in section.tables]

    @property
    def figures(self) -> list[Figure]:
        return [figure for section in self.sections for figure in section.figures]


def write_report(report: Report, out: Path) -> Path:
    """Writes ``index.html`` (everything in one file), ``tables/``, ``figures/``, ``settings.yaml``, ``report.json``.

    Returns:
        The page.

    Raises:
        UsageError: ``USAGE_CANNOT_WRITE``.
        ValueError: two tables or two figures have the same name.
    """
    for parts in (report.tables, report.figures):
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"two parts of a report share a name: {sorted(names)}")
    settings = yaml.safe_dump(dict(report.settings), sort_keys=False, allow_unicode=True, width=100)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for table in report.tables:
            table.write(out / "tables")
        for figure in report.figures:
            figure.write(out / "figures")
        (out / "settings.yaml").write_text(settings, encoding="utf-8")
        (out / "report.json").write_text(json.dumps(_machine_readable(report), indent=1) + "\n", encoding="utf-8")
        page = out / "index.html"
        page.write_text(render(report, settings), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "USAGE_CANNOT_WRITE", "The report cannot be written.", "Choose a folder that can be written to.", str(error)
        ) from error
    return page


def render(report: Report, settings: str) -> str:
    """The page; text in it cannot become markup."""
    environment = Environment(
        loader=PackageLoader("hemocam_training.experiments.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    return environment.get_template("page.html.j2").render(
        report=report, settings=settings, versions=versions(), quick_note=QUICK_NOTE
    )


def versions() -> dict[str, str]:
    """Of Python and the packages that a result depends on."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _machine_readable(report: Report) -> dict[str, Any]:
    return {
        "title": report.title,
        "quick": report.quick,
        "data": list(report.data),
        "limits": list(report.limits),
        "versions": versions(),
        "tables": [f"tables/{table.name}.csv" for table in report.tables],
        "figures": [f"figures/{figure.name}.png" for figure in report.figures],
    }
