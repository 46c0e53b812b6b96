"""The command ``hemocam-train``.

Exit codes: 0 done, 2 bad usage, 3 data refused, 5 failed, 6 evaluation on training data, 130 cancelled.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives its exit code; no exception leaves it.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    from hemocam_training.cli import model_commands  # noqa: F401 (its commands join the others)
    from hemocam_training.cli.app import app
    from HemoCAMLib.cli.outcome import run_command

    return run_command(list(sys.argv[1:] if arguments is None else arguments), app, "hemocam-train")
