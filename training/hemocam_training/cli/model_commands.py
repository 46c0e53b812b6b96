"""The commands between a dataset and a bundle: cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemocam_training.cli.app import app
from hemocam_training.cli.sources import Index, Parts, PhantomSeeds, Root, SplitFile
from HemoCAMLib.cli.options import AsJson


@app.command()
def cache(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the shards.", show_default=False)],
    phantoms: PhantomSeeds = "",
    index: Index = None,
    root: Root = None,
    split: SplitFile = None,
    part: Parts = None,
    noise: Annotated[bool, typer.Option("--noise", help="Cache phantoms with scanner noise, not free of it.")] = False,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Rows and columns of the cached slices.")] = 256,
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Processes; 0 takes all cores.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Compare what is cached with its checksums.")] = False,
    as_json: AsJson = False,
) -> None:
    """Preprocess slices once, to shards that training maps into memory; a call that was stopped can be repeated."""
    from hemocam_training.cli.caching import cache_slices

    cache_slices(
        out, phantoms, index, root, split, part or [], noise=noise, size=size, workers=workers, verify=verify,
        as_json=as_json,
    )  # fmt: skip
