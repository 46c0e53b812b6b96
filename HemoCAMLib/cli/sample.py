"""``hemocam sample``: the synthetic scan on disk."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from HemoCAMLib.cli.streams import output, write_json
from HemoCAMLib.sample import write_sample


def make_sample(out: Path, *, as_json: bool) -> None:
    """Writes the sample scan and says where it is and what it holds."""
    sample = write_sample(out)
    if as_json:
        write_json({"scan": str(sample.scan), "truth": str(sample.truth), "truth_ml": sample.truth_ml})
        return
    console = output()
    console.print(Text(f"Scan   {sample.scan}"))
    console.print(Text(f"Truth  {sample.truth}"))
    volumes = ", ".join(f"{name} {value:.1f} mL" for name, value in sample.truth_ml.items() if value > 0)
    console.print(Text(f"A synthetic head with {volumes}."))
