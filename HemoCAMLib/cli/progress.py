"""What a user sees while an analysis runs."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from HemoCAMLib.run.protocol import Message
from HemoCAMLib.subtypes import ANY

STAGES = {
    "starting": "Starting the analysis process",
    "reading": "Reading the scan",
    "preparing": "Preparing the slices",
    "analysing": "Analysing slices",
    "measuring": "Measuring",
}


class ProgressView:
    """Shows a run's events: a live bar in a terminal, a line per stage anywhere else.

    Args:
        console: where to show them; standard error, so that results can be piped.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._slice_count = 0
        self._analysed: set[int] = set()
        self._bleeding: set[int] = set()
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
                transient=True,
            )
            self._task = self._progress.add_task("", total=None, note="")

    def __enter__(self) -> ProgressView:
        if self._progress is not None:
            self._progress.start()
        self._enter("starting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def on_event(self, event: Message) -> None:
        """Takes one event of :mod:`HemoCAMLib.run.protocol`; those it does not know are passed over."""
        kind = event["event"]
        if kind == "notice":
            self._console.print(Text(str(event.get("message", ""))))
        elif kind == "input":
            self._slice_count = int(event.get("slices", 0))
            self._enter("preparing")
        elif kind == "slices":
            self._count(event["slices"])
        elif kind == "progress":
            self._show(str(event["stage"]), float(event["fraction"]), event.get("seconds_left"))

    def _count(self, slices: list[Message]) -> None:
        self._analysed.update(entry["index"] for entry in slices)
        self._bleeding.update(entry["index"] for entry in slices if entry["area_mm2"].get(ANY, 0) > 0)
        # Masks are made beside the network, so the last slices may be reported after measuring began.
        if self._slice_count and self._stage != "measuring":
            self._show("analysing", len(self._analysed) / self._slice_count, None)

    def _show(self, stage: str, fraction: float, seconds_left: float | None) -> None:
        self._enter(stage)
        if self._progress is None:
            return
        notes = []
        if stage == "analysing":
            notes.append(f"{len(self._analysed)}/{self._slice_count}, hemorrhage in {len(self._bleeding)}")
        if seconds_left is not None:
            notes.append(f"{_duration(seconds_left)} left")
        note = ", ".join(notes)
        if notes:
            self._progress.update(self._task, note=note)
        # A stage that is all done but has not ended is at work on something it cannot count.
        self._progress.update(self._task, total=None if stage == "measuring" else 1.0, completed=fraction)

    def _enter(self, stage: str) -> None:
        if stage == self._stage:
            return
        self._stage = stage
        title = STAGES.get(stage, stage.capitalize())
        if self._progress is not None:
            self._progress.update(self._task, description=title, total=None, completed=0, note="")
        else:
            self._console.print(Text(f"{title} …"))


def _duration(seconds: float) -> str:
    """
    >>> _duration(7.2), _duration(125)
    ('7 s', '2 min 05 s')
    """
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
