"""The host's half of the conversation with the worker, fed by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from HemoCAMLib.errors import Cancelled, InputRefused, WorkerFailed
from HemoCAMLib.run.conversation import Conversation, raise_for
from HemoCAMLib.run.protocol import MAXIMUM_LINE_BYTES, LineBuffer, encode


class Owner:
    """Stands where a QProcess or a loop would: notes what is sent, killed and heard."""

    def __init__(self, grace_s: float = 5.0) -> None:
        self.sent: list[dict] = []
        self.kills = 0
        self.events: list[dict] = []
        self.talk = Conversation(self._send, self._kill, self.events.append, grace_s)

    def _send(self, data: bytes) -> None:
        self.sent += [json.loads(line) for line in data.splitlines()]

    def _kill(self) -> None:
        self.kills += 1


def test_events_arrive_whole_and_in_order_however_the_pipe_cuts_them():
    owner = Owner()
    stream = b"".join(encode({"event": "progress", "fraction": i / 10, "stage": "ü"}) for i in range(10))
    for start in range(0, len(stream), 7):
        owner.talk.bytes_received(stream[start : start + 7])
    assert [event["fraction"] for event in owner.events] == [i / 10 for i in range(10)]


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_at_all_are_cut_into_the_same_lines_as_in_one_piece(chunks):
    buffer = LineBuffer()
    lines = [line for chunk in chunks for line in buffer.feed(chunk)]
    whole = b"".join(chunks).split(b"\n")[:-1]
    assert lines == [line for line in whole if line.strip()]


def test_what_is_not_an_event_is_passed_over():
    owner = Owner()
    owner.talk.bytes_received(b'Downloading...\n[1, 2]\n{"no": 1}\n\xff\xfe\n' + encode({"event": "notice"}))
    assert owner.events == [{"event": "notice"}]


def test_an_endless_line_is_dropped_and_the_next_event_is_heard():
    owner = Owner()
    owner.talk.bytes_received(b"x" * (MAXIMUM_LINE_BYTES + 1))
    owner.talk.bytes_received(b"y\n" + encode({"event": "notice"}))
    assert owner.events == [{"event": "notice"}]


def test_a_second_analysis_while_one_runs_is_refused():
    owner = Owner()
    owner.talk.analyze("a")
    with pytest.raises(WorkerFailed, match="already running"):
        owner.talk.analyze("b")
    owner.talk.bytes_received(encode({"event": "done"}))
    owner.talk.analyze("b")
    assert [command["run_folder"] for command in owner.sent] == ["a", "b"]


def test_a_cancel_is_sent_once_and_kills_only_after_the_grace():
    owner = Owner(grace_s=5.0)
    owner.talk.analyze("a")
    owner.talk.cancel()
    owner.talk.cancel()
    assert owner.sent[1:] == [{"command": "cancel"}]
    owner.talk.tick(100.0)
    owner.talk.tick(104.9)
    assert owner.kills == 0
    owner.talk.tick(105.0)
    assert owner.kills == 1
    owner.talk.process_ended(-9)
    assert owner.events[-1]["event"] == "cancelled"


def test_a_cancel_that_is_answered_kills_nothing():
    owner = Owner(grace_s=1.0)
    owner.talk.analyze("a")
    owner.talk.cancel()
    owner.talk.tick(0.0)
    owner.talk.bytes_received(encode({"event": "cancelled"}))
    owner.talk.tick(50.0)
    assert owner.kills == 0
    assert not owner.talk.busy


def test_a_worker_that_dies_in_a_run_gives_one_error_that_says_what_to_do():
    owner = Owner()
    owner.talk.analyze("a")
    owner.talk.process_ended(-9)
    owner.talk.process_ended(-9)
    (event,) = owner.events
    assert event["code"] == "WORKER_KILLED"
    with pytest.raises(WorkerFailed, match="goes on where it stopped"):
        raise_for(event)
    with pytest.raises(WorkerFailed, match="has ended"):
        owner.talk.analyze("b")


def test_a_worker_of_another_version_is_refused_and_killed():
    owner = Owner()
    owner.talk.analyze("a")
    owner.talk.bytes_received(encode({"event": "ready", "protocol": 99}))
    assert owner.events[-1]["code"] == "WORKER_VERSION"
    assert owner.kills == 1
    assert not owner.talk.ready


def test_a_broken_pipe_waits_for_the_end_of_the_process_to_be_reported():
    events: list[dict] = []

    def broken(data: bytes) -> None:
        raise BrokenPipeError

    talk = Conversation(broken, lambda: None, events.append)
    talk.analyze("a")
    talk.process_ended(1)
    assert events[-1]["code"] == "WORKER_DIED"


def test_errors_come_back_as_the_class_that_was_raised_in_the_worker():
    refused = InputRefused("CT_NOT_CT", "This is not a CT.", "Choose a CT.")
    with pytest.raises(InputRefused) as caught:
        raise_for({"event": "error", **refused.as_dict()})
    assert caught.value.as_dict() == refused.as_dict()
    with pytest.raises(Cancelled):
        raise_for({"event": "cancelled"})
