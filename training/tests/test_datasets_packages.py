from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).resolve().parents[2]


def test_every_dependency_of_the_training_has_a_lower_bound_and_a_pin() -> None:
    training = tomllib.loads((PROJECT / "training" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = set(re.findall(r"^([A-Za-z0-9_-]+)==", (PROJECT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    wanted = [line for line in training["dependencies"] if not line.startswith("hemocam")]
    for line in wanted:
        name, bound = re.fullmatch(r"([A-Za-z0-9_-]+)(>=\S+)?", line).groups()
        assert bound, line
        assert name in pins, line
