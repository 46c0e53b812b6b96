"""The conversation with the worker: JSON lines, commands one way, events the other.

Commands (to the worker's standard input)
    ``{"command": "analyze", "run_folder": PATH}`` reads ``job.json`` there; ``{"command": "describe", "model": NAME}``;
    ``{"command": "cancel"}``; ``{"command": "shutdown"}``. The end of the stream also ends the worker.

Events (from its standard output), each with ``event`` and, where it belongs to a run, ``run_folder``
    ``ready``      protocol, version, pid
    ``notice``     code, message: something done differently than asked, said aloud
    ``model``      name, version, checksum, device, precision, seconds
    ``input``      the scan as in ``result.json``; slices, warnings
    ``quality``    how far the scan is from what the model was trained on, as in ``result.json``
    ``slices``     slices: a list as in ``result.json`` without the final small-component removal
    ``progress``   stage, fraction (0-1), seconds_left (None while unknown)
    ``done``       seconds
    ``cancelled``  slices_done
    ``error``      code, message, advice, detail
    ``description``  model; methods, layers and modules of its maps, all empty where it cannot be described
"""

from __future__ import annotations

import json
from typing import Any

PROTOCOL_VERSION = 1

#: Events after which a run is over.
FINAL_EVENTS = frozenset({"done", "cancelled", "error"})

#: Longest line accepted from either side; a line beyond it means the other side is not ours.
MAXIMUM_LINE_BYTES = 8 << 20

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """One JSON line, ASCII only so that no console encoding can damage it; NaN is refused.

    >>> encode({"event": "progress", "fraction": 0.5})
    b'{"event": "progress", "fraction": 0.5}\\n'
    """
    return json.dumps(message, allow_nan=False).encode("ascii") + b"\n"


def decode(line: bytes) -> Message | None:
    """The message in a line, or None for anything that is not a JSON object (stray output of a library)."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


class LineBuffer:
    """Cuts a stream of bytes, arriving in any pieces, into lines.

    >>> buffer = LineBuffer()
    >>> buffer.feed(b'{"a"'), buffer.feed(b': 1}\\n{"b"')
    ([], [b'{"a": 1}'])
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAXIMUM_LINE_BYTES:
            self._rest = b""
        return [line for line in lines if line.strip()]
