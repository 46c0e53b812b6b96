"""Work in the background: what it gives, and that no garbage is collected on its thread."""

from __future__ import annotations

import gc
import threading

import pytest

from HemoCAMLib.scene.steps import finish, in_background


def test_what_the_work_gives_or_raises_comes_back() -> None:
    assert finish(in_background(divmod, 17, 5)) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        finish(in_background(divmod, 1, 0))
    assert gc.isenabled()


def test_cyclic_garbage_waits_for_the_main_thread() -> None:
    destroyed_on: list[str] = []

    class Widget:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            destroyed_on.append(threading.current_thread().name)

    def work() -> int:
        for _ in range(20):
            Widget()
        return sum(len([[number]]) for number in range(20_000))

    assert finish(in_background(work)) == 20_000
    gc.collect()
    assert len(destroyed_on) == 20
    assert set(destroyed_on) == {threading.current_thread().name}


def test_work_that_is_given_up_lets_collection_go_on_when_it_ends() -> None:
    may_end = threading.Event()
    steps = in_background(may_end.wait, 10)
    next(steps)
    assert not gc.isenabled()
    steps.close()
    assert not gc.isenabled()
    may_end.set()
    for thread in threading.enumerate():
        if thread.name == "HemoCAM":
            thread.join(10)
    assert gc.isenabled()
