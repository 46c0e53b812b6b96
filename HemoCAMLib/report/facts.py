"""What a result says, in sentences: findings, and lines from the literature that a volume is held against.

Facts, no advice: a sentence says on which side of a published line a measured volume lies.
"""

from __future__ import annotations

from dataclasses import dataclass

from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import ANY, SUBTYPES


@dataclass(frozen=True)
class VolumeLine:
    """A volume that the literature knows.

    Attributes:
        name: subtype.
        line_ml: the volume.
        includes_line: whether the line itself counts as reached.
        meaning: what stands there.
        source: where.
    """

    name: str
    line_ml: float
    includes_line: bool
    meaning: str
    source: str


VOLUME_LINES = (
    VolumeLine("IPH", 30.0, True, "the volume criterion of the ICH score", "Hemphill et al., Stroke 2001"),
    VolumeLine("EDH", 30.0, False, "the volume that guidelines on epidural hematoma name", "Bullock et al., 2006"),
)


def volume_figure(value_ml: float) -> str:
    """Millilitres with no more figures than the method can know.

    >>> volume_figure(34.21), volume_figure(2.276), volume_figure(0)
    ('34.2', '2.28', '0')
    """
    if value_ml == 0:
        return "0"
    return f"{value_ml:.1f}" if value_ml >= 10 else f"{value_ml:.2f}"


def volume_text(value_ml: float) -> str:
    """The same with its unit."""
    return f"{volume_figure(value_ml)} mL"


def signed(value: float, decimals: int) -> str:
    """With its sign, except where nothing is left of the value.

    >>> signed(-0.3, 0), signed(1.5, 2)
    ('0', '+1.50')
    """
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}" if rounded else "0"


def summary(result: Result) -> str:
    """One sentence: what was found, largest first."""
    found = sorted(
        (subtype for subtype in SUBTYPES if result.volume_ml[subtype.name] > 0),
        key=lambda subtype: -result.volume_ml[subtype.name],
    )
    if not found:
        return "No hemorrhage was found by this model."
    parts = [f"{s.title.lower()} {volume_text(result.volume_ml[s.name])}{_side(result, s.name)}" for s in found]
    return f"Found by this model: {', '.join(parts)}."


def facts(result: Result) -> list[str]:
    """Sentences about the measured volumes, none where nothing was found."""
    sentences = []
    for line in VOLUME_LINES:
        volume = result.volume_ml[line.name]
        if volume == 0:
            continue
        reached = volume >= line.line_ml if line.includes_line else volume > line.line_ml
        side = (
            ("at or above" if line.includes_line else "above")
            if reached
            else ("below" if line.includes_line else "not above")
        )
        sentences.append(
            f"{line.name} measures {volume_text(volume)}: {side} {line.line_ml:g} mL, {line.meaning} ({line.source})."
        )
    if result.volume_ml["IVH"] > 0 and result.volume_ml["IPH"] > 0:
        sentences.append("Intraventricular extension was found, another criterion of the ICH score.")
    return sentences


def doubtful_slices(result: Result, above: float = 0.5) -> list[int]:
    """Indices of slices that probably bleed (probability of "any" above that) and in which nothing was outlined."""
    return [
        entry["index"] for entry in result.slices if entry["probability"][ANY] > above and entry["area_mm2"][ANY] == 0
    ]


def _side(result: Result, name: str) -> str:
    side = result.fields["side"][name]
    return {"left": ", left", "right": ", right", "both": ", both sides"}.get(side, "")
