"""What the panel says: states and results in plain words. Knows of no widget."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.measure.measurements import TOTAL
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES, SUBTYPES

#: Colours of words that must be seen, readable on light and on dark backgrounds.
GOOD, WARNING, BAD = "#2e8b57", "#c77700", "#d03b3b"


def plain(text: str) -> str:
    """Text from outside (file names, names of nodes) as it may stand in a label."""
    return html.escape(text, quote=False)


def colored(text: str, color: str) -> str:
    """Rich text in a colour."""
    return f'<span style="color:{color}">{text}</span>'


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(8.4), duration(75), duration(3700)
    ('8 s', '1 min 15 s', '1 h 2 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def millilitres(value: float) -> str:
    """A volume with as many digits as mean something.

    >>> millilitres(0.0), millilitres(0.034), millilitres(31.44)
    ('0', '0.03', '31.4')
    """
    if value == 0:
        return "0"
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def state_sentence(handle: Any) -> str:
    """What an analysis is doing or how it ended, for the line under the button.

    Args:
        handle: :class:`~HemoCAMLib.panel.analysis.Analysis`.
    """
    if handle.state == "done":
        return str(_("Finished."))
    if handle.state == "cancelled":
        template = str(_("Cancelled after {done} of {count} slices. What was found until then stays."))
        return template.format(done=handle.slices_done, count=handle.slice_count or "?")
    if handle.state == "failed":
        return colored(error_sentence(handle.error), BAD)
    sentences: dict[str, str] = {
        "preparing": _("Looking at the scan."),
        "starting": _("Starting: reading the scan, loading the model."),
        "running": _("Analysing."),
        "completing": _("All slices are done; measuring."),
    }
    return sentences[handle.state]


def progress_text(handle: Any) -> str:
    """Slices done, time left and device, for the progress bar."""
    if not handle.slice_count:
        return str(_("Starting"))
    parts = [_("{done} of {count} slices").format(done=handle.slices_done, count=handle.slice_count)]
    if handle.seconds_left is not None and handle.state == "running":
        parts.append(_("about {time} left").format(time=duration(handle.seconds_left)))
    if handle.device:
        parts.append(str(handle.device).upper())
    return ", ".join(parts)


def found_sentence(volume_ml: Mapping[str, float]) -> str:
    """The result in one sentence; that nothing was found is one too."""
    found = [name for name in SUBTYPE_NAMES if volume_ml[name] > 0]
    if not found:
        return f"<b>{_('No hemorrhage found.')}</b>"
    parts = ", ".join(f"{name} {millilitres(volume_ml[name])} mL" for name in found)
    whole = _("{volume} mL of hemorrhage").format(volume=millilitres(volume_ml[TOTAL]))
    return f"<b>{whole}</b>: {parts}."


def unfinished_sentence(state: str) -> str:
    """What a result is that was not completed."""
    sentences: dict[str, str] = {
        "running": _("This analysis is not finished."),
        "cancelled": _("This analysis was cancelled: only a part of the slices was read."),
        "failed": _("This analysis failed: only a part of the slices was read."),
    }
    return sentences.get(state, "")


def error_sentence(error: HemoCAMError | None) -> str:
    """What went wrong and what to do next."""
    return "" if error is None else plain(f"{error.message} {error.advice}".strip())


def notes_text(notes: Sequence[Any]) -> str:
    """Notes about a volume, what is refused first and in red."""
    ordered = sorted(notes, key=lambda note: not note.refused)
    return "<br>".join(colored(plain(note.message), BAD if note.refused else WARNING) for note in ordered)


def quality_text(quality: Mapping[str, Any]) -> str:
    """How far the scan is from what the model was trained on; empty where it is not, or where that is not known."""
    findings = quality.get("findings") or []
    if not findings:
        return ""
    return colored(
        plain(" ".join([str(quality.get("summary", "")), *(str(f.get("message", "")) for f in findings)])), WARNING
    )


def slice_text(entry: Mapping[str, Any], count: int, gates: Mapping[str, float]) -> str:
    """One slice of the strip: number, what it shows, probabilities of what is above its gate."""
    probability = entry["probability"]
    called = [name for name in SUBTYPE_NAMES if probability.get(name, 0.0) > gates.get(name, 1.0)]
    head = _("Slice {number} of {count}").format(number=int(entry["index"]) + 1, count=count)
    shown = called or [ANY]
    words = ", ".join(f"{name} {probability.get(name, 0.0):.2f}" for name in shown)
    area = float(entry["area_mm2"].get(ANY, 0.0))
    tail = f"; {area / 100:.1f} cm²" if area else ""
    return f"{head}: {words}{tail}"


def titles() -> dict[str, str]:
    """Full names by abbreviation."""
    return {subtype.name: subtype.title for subtype in SUBTYPES}
