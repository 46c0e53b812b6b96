"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else.")]
Model = Annotated[str, typer.Argument(help="Name of a shipped model, or path of a bundle.", show_default=False)]
Mask = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SETTING",
        help="absolute, per_image, threshold=0.4, threshold.SAH=0.3, gate=0.5, gate.EDH=0.7, "
        "minimum_volume_ml=0.2, rule=RULE, refinement=NAME or refinement=off; may be repeated or joined by commas.",
        show_default="the model's own",
    ),
]
Threshold = Annotated[
    str,
    typer.Option(
        metavar="RULE",
        help="How thresholds are found: fixed, mean, median, percentile:90, otsu, multi-otsu:3 or adaptive:35; "
        "@brain takes statistics inside the brain only.",
        show_default="the model's own",
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished analysis.", show_default=False)]
Source = Annotated[
    Path | None, typer.Option("--source", "-s", help="Where the scan lies now.", show_default="where it was")
]
