"""Standard output and standard error, safe for pipes, files and consoles of any encoding."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any

from rich.console import Console


class PipeConsole(Console):
    """A console whose reader may go away (``hemocam … | head``): what is left to say is then dropped."""

    def on_broken_pipe(self) -> None:
        drop_stdout()


def drop_stdout() -> None:
    """Sends the rest of standard output nowhere, so that not even the flush at exit complains."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def accept_any_text() -> None:
    """Makes both streams write a substitute for what their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def output() -> Console:
    """Where results go: standard output."""
    return PipeConsole(highlight=False, soft_wrap=not sys.stdout.isatty())


def messages() -> Console:
    """Where progress, notices and errors go: standard error."""
    return PipeConsole(stderr=True, highlight=False, soft_wrap=True)


def write_json(value: Any) -> None:
    """One JSON value on standard output, ASCII so that no console encoding can damage it."""
    try:
        sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
