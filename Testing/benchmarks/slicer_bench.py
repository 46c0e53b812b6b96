"""What the benchmarks of the Slicer module share: the panel in its host, scans, times of every handler of ours."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "host")]

#: The environment with torch, whose Python PythonSlicer starts.
WORKER_PYTHON = ROOT / (".venv/Scripts/python.exe" if os.name == "nt" else ".venv/bin/python")


@contextmanager
def panel_host() -> Iterator[tuple[Any, Any]]:
    """The application in its host with the module shown: (host, widget)."""
    from panel_host import PanelHost

    with PanelHost(python=str(WORKER_PYTHON)) as host:
        host.load_module(ROOT / "HemoCAM" / "HemoCAM.py")
        yield host, host.select_module("HemoCAM")


def phantom_hu(slices: int) -> NDArray[np.int16]:
    """[slice, row, column] the sample's head with another number of slices, each with noise of its own."""
    from HemoCAMLib.resources import resource_folder
    from HemoCAMLib.sample.recipe import SampleRecipe

    hu = SampleRecipe.load(resource_folder("sample")).noisy_hu()
    chosen = np.linspace(0, len(hu) - 1, slices).round().astype(int)
    rng = np.random.default_rng(slices)
    scan = hu[chosen]
    for plane in scan:
        plane += rng.integers(-1, 2, plane.shape, dtype=np.int16)
    return np.clip(scan, -1000, None)


def add_scan(slices: int, name: str = "CT") -> Any:
    """A volume node of 512 x 512 pixels a slice, as Slicer would load it from NRRD."""
    import slicer

    from HemoCAMLib.scene.bridge import matrix_of_array

    hu = phantom_hu(slices)
    matrix = np.diag([-0.45, -0.45, 145 / slices, 1.0])
    matrix[:3, 3] = (0.225 * hu.shape[2], 0.225 * hu.shape[1], 0)
    # Rows run front to back and columns right to left, as in the sample's own series.
    return slicer.util.addVolumeFromArray(hu, matrix_of_array(matrix), name)


class HandlerTimes:
    """How long each of our handlers held the main thread: whatever a signal or a timer calls, and chosen methods.

    To be made before the panel is: connections are timed when they are made.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.cpu_seconds: dict[str, list[float]] = defaultdict(list)
        from panel_host import signals

        with_arity = signals._with_arity

        def timed_arity(deliver: Callable[..., None], count: int) -> Callable[..., None]:
            free = dict(zip(deliver.__code__.co_freevars, deliver.__closure__ or (), strict=True))
            target = free["target"].cell_contents
            name = f"{target.__module__.rpartition('.')[2]}.{getattr(target, '__qualname__', repr(target))}"
            return with_arity(self._timed(deliver, name), count)

        signals._with_arity = timed_arity
        self._undo: list[Callable[[], None]] = [lambda: setattr(signals, "_with_arity", with_arity)]

    def watch(self, owner: type, *names: str) -> None:
        """Times methods of a class too, which handlers call."""
        for name in names:
            original = owner.__dict__[name]
            function = original.__func__ if isinstance(original, classmethod) else original
            timed = self._timed(function, f"{owner.__name__}.{name}")
            setattr(owner, name, classmethod(timed) if isinstance(original, classmethod) else timed)
            self._undo.append(functools.partial(setattr, owner, name, original))

    def clear(self) -> None:
        """Forgets what was measured until now."""
        self.seconds.clear()
        self.cpu_seconds.clear()

    def stop(self) -> None:
        """Takes the watches off."""
        for undo in reversed(self._undo):
            undo()

    def worst_ms(self, count: int = 8) -> dict[str, float]:
        """Longest call of those that took longest."""
        return _worst_ms(self.seconds, count)

    def worst_cpu_ms(self, count: int = 8) -> dict[str, float]:
        """The same in time that the main thread was computing, whatever else the machine did."""
        return _worst_ms(self.cpu_seconds, count)

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            started, computing = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **keywords)
            finally:
                self.seconds[name].append(time.perf_counter() - started)
                self.cpu_seconds[name].append(time.thread_time() - computing)

        return timed


def _worst_ms(calls: dict[str, list[float]], count: int) -> dict[str, float]:
    longest = {name: round(1000 * max(times), 1) for name, times in calls.items()}
    return dict(sorted(longest.items(), key=lambda entry: -entry[1])[:count])


def resident_mib() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
