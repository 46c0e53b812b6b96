"""Several scans analysed one after the other into one table; knows neither Qt nor the application."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from HemoCAMLib.errors import HemoCAMError, InputRefused, WorkerFailed
from HemoCAMLib.measure.measurements import TOTAL
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.tables import Column, write_table
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES, subtype_named

#: States of a scan; the last three are final.
WAITING, RUNNING, DONE, CANCELLED, FAILED = "waiting", "running", "done", "cancelled", "failed"

_UNKNOWN = float("nan")


class Numbers(Protocol):
    """What a scan's result must tell (:class:`~HemoCAMLib.panel.analysis_result.AnalysisResult`)."""

    @property
    def volume_ml(self) -> dict[str, float]: ...

    @property
    def probability(self) -> dict[str, float]: ...


class Handle(Protocol):
    """What an analysis under way must tell (:class:`~HemoCAMLib.panel.analysis.Analysis`)."""

    state: str
    error: HemoCAMError | None
    result: Any

    def cancel(self) -> None: ...

    def abandon(self) -> None: ...

    def connect(self, event: str, callback: Callable[[Any], object]) -> None: ...


@dataclass(eq=False)
class Scan:
    """One scan of a list.

    Attributes:
        name: shown in the table.
        load: gives the volume node when the scan's turn comes; may raise ``HemoCAMError``.
        key: tells scans apart from one session to the next, such as a series UID; empty takes the place in the list.
        unload: takes the node and what was found out of the scene when the scan is done; None leaves them there.
        state: one of the states above.
        error: why it failed or was cancelled.
        volume_ml: of the result, by subtype name and ``total``; empty without one.
        probability: of the slice where it is greatest, by subtype name and ``any``.
    """

    name: str
    load: Callable[[], Node]
    key: str = ""
    unload: Callable[[Any], None] | None = None
    state: str = WAITING
    error: HemoCAMError | None = None
    volume_ml: dict[str, float] = field(default_factory=dict)
    probability: dict[str, float] = field(default_factory=dict)


class Batch:
    """Analyses a list of scans on the one warm worker; one that fails never stops the rest.

    Every scan has a run folder of its own under one folder, named by nothing of the patient. A batch of the same scans
    in the same folder goes on where a former one stopped, slice for slice.

    >>> batch = Batch(scans, start, table_node, folder, later)  # doctest: +SKIP
    >>> batch.connect("finished", lambda batch: print(batch.state, batch.done_count))  # doctest: +SKIP
    >>> batch.start()  # doctest: +SKIP

    Args:
        scans: in their order.
        start: begins the analysis of a volume node in a run folder and gives its handle; may raise ``HemoCAMError``.
        table_node: takes a row for each scan and subtype, as soon as it is known.
        folder: of the run folders.
        later: calls a function once the present event is over.
    """

    def __init__(
        self,
        scans: Iterable[Scan],
        start: Callable[[Node, Path], Handle],
        table_node: Node,
        folder: Path,
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self.scans = list(scans)
        self.table_node = table_node
        self.folder = folder
        self.state = WAITING
        self.handle: Handle | None = None
        self._start = start
        self._later = later
        self._callbacks: dict[str, list[Callable[[Batch], object]]] = {"changed": [], "finished": []}

    @property
    def busy(self) -> bool:
        """Whether it is under way."""
        return self.state == RUNNING

    @property
    def finished(self) -> bool:
        """Whether it was started and is over."""
        return self.state in (DONE, CANCELLED) and self.handle is None

    @property
    def current(self) -> Scan | None:
        """The scan that is analysed now."""
        return next((scan for scan in self.scans if scan.state == RUNNING), None)

    @property
    def done_count(self) -> int:
        """Scans that have a result."""
        return sum(scan.state == DONE for scan in self.scans)

    @property
    def failed_count(self) -> int:
        """Scans that could not be analysed."""
        return sum(scan.state == FAILED for scan in self.scans)

    def connect(self, event: str, callback: Callable[[Batch], object]) -> None:
        """Calls a function with this batch: ``changed`` whenever a scan changed its state, ``finished`` at the end."""
        self._callbacks[event].append(callback)

    def start(self) -> None:
        """Begins, or goes on with every scan that has no result yet."""
        if self.busy:
            return
        for scan in self.scans:
            if scan.state != DONE:
                scan.state, scan.error = WAITING, None
        self.state = RUNNING
        self._show()
        self._later(self._next)

    def cancel(self) -> None:
        """Ends it; the scan in hand keeps what was found, those that wait can be gone on with by :meth:`start`."""
        if not self.busy:
            return
        self.state = CANCELLED
        if self.handle is not None:
            self.handle.cancel()
        else:
            self._end()

    def abandon(self) -> None:
        """Ends it at once and touches no node any more: for the end of a module or the application."""
        self.state = CANCELLED
        for scan in self.scans:
            if scan.state == RUNNING:
                scan.state = CANCELLED
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.abandon()

    def run_folder(self, scan: Scan) -> Path:
        """Where a scan's run is written."""
        place = self.scans.index(scan) + 1
        name = hashlib.sha256(scan.key.encode()).hexdigest()[:16] if scan.key else f"{place:04d}"
        return self.folder / name

    def _next(self) -> None:
        if not self.busy:
            return
        if self.table_node.GetScene() is None:
            self.state = CANCELLED
        scan = next((scan for scan in self.scans if scan.state == WAITING), None)
        if scan is None or self.state == CANCELLED:
            self._end()
            return
        scan.state = RUNNING
        self._show()
        try:
            node = scan.load()
            if node is None or node.GetScene() is None:
                raise InputRefused("CT_GONE", "The volume is no longer in the scene.", "Load it again.")
            self.handle = self._start(node, self.run_folder(scan))
            self.handle.connect("finished", lambda handle: self._scan_ended(scan, handle))
        except HemoCAMError as error:
            self._failed(scan, error)
        except Exception as error:
            logging.exception("HemoCAM")
            self._failed(scan, _unforeseen(error))

    def _scan_ended(self, scan: Scan, handle: Handle) -> None:
        if handle is not self.handle:
            return
        self.handle = None
        try:
            if handle.state == DONE:
                scan.volume_ml, scan.probability = handle.result.volume_ml, handle.result.probability
            scan.state, scan.error = handle.state, handle.error
            if scan.unload is not None:
                scan.unload(handle)
        except Exception as error:
            logging.exception("HemoCAM")
            scan.state, scan.error = FAILED, _unforeseen(error)
        self._show()
        if self.busy:
            self._later(self._next)
        else:
            self._end()

    def _failed(self, scan: Scan, error: HemoCAMError) -> None:
        self.handle = None
        scan.state, scan.error = FAILED, error
        self._show()
        self._later(self._next)

    def _end(self) -> None:
        if self.state == RUNNING:
            self.state = DONE
        self._show()
        self._call("finished")

    def _show(self) -> None:
        if self.table_node.GetScene() is not None:
            write_batch_table(self.table_node, self.scans)
        self._call("changed")

    def _call(self, event: str) -> None:
        for callback in list(self._callbacks[event]):
            try:
                callback(self)
            except Exception:
                logging.exception("HemoCAM: a callback of “%s” raised", event)


def write_batch_table(table_node: Node, scans: Iterable[Scan]) -> None:
    """A row for each subtype of every scan that has a result, and one for all together; one row for the others.

    Args:
        table_node: its content is replaced.
        scans: in their order.
    """
    titles = ("Scan", "State", "Hemorrhage", "Volume", "Probability", "Note")
    rows = [row for scan in scans for row in _rows(scan)]
    values = zip(*rows, strict=True) if rows else ([] for _ in titles)
    columns = [
        Column(title, list(column), "mL" if title == "Volume" else "")
        for title, column in zip(titles, values, strict=True)
    ]
    write_table(table_node, columns)


def _rows(scan: Scan) -> list[tuple[str, str, str, float, float, str]]:
    note = "" if scan.error is None else f"{scan.error.message} {scan.error.advice}".strip()
    if scan.state != DONE:
        return [(scan.name, scan.state, "", _UNKNOWN, _UNKNOWN, note)]
    rows = [
        (scan.name, scan.state, subtype_named(name).title, scan.volume_ml[name], scan.probability[name], "")
        for name in SUBTYPE_NAMES
    ]
    nothing = "" if scan.volume_ml[TOTAL] > 0 else "No hemorrhage found."
    return [*rows, (scan.name, scan.state, "All", scan.volume_ml[TOTAL], scan.probability[ANY], nothing)]


def _unforeseen(error: Exception) -> WorkerFailed:
    return WorkerFailed(
        "WORKER_FAILED",
        "This scan failed for a reason that HemoCAM did not foresee.",
        "Send the application's log to the developers.",
        repr(error),
    )
