"""What the labels of a segmentation from elsewhere mean: by data set, by the names of segments, or by a file.

Targets are the five subtypes, ``any`` (a hemorrhage whose subtype is not told) and ``none`` (no hemorrhage).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from HemoCAMLib.errors import InputRefused, UsageError
from HemoCAMLib.model.strict_json import parse_json
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES, SUBTYPES

#: Target of what is no hemorrhage.
NONE = "none"

#: Stands for every label that is not named itself.
_EVERY = "*"

#: Data sets by name, as their publications number the labels: BHSD (Wu et al., MICCAI 2023), PhysioNet CT-ICH 1.3.1,
#: INSTANCE 2022, TotalSegmentator's task ``cerebral_bleed`` (one class, ``intracerebral_hemorrhage``), BLAST-CT.
KNOWN_MAPPINGS: dict[str, dict[str, str]] = {
    "hemocam": {str(subtype.label): subtype.name for subtype in SUBTYPES},
    "bhsd": {"1": "EDH", "2": "IPH", "3": "IVH", "4": "SAH", "5": "SDH"},
    "physionet": {_EVERY: ANY},
    "instance": {"1": ANY},
    "totalsegmentator": {"1": ANY, "intracerebral hemorrhage": ANY},
    "blast-ct": {"1": "IPH", "2": ANY, "3": NONE, "4": "IVH"},
    "binary": {_EVERY: ANY},
}

_SUBTYPE_WORDS = {
    "IPH": r"iph|(intra ?)?parenchymal|intra ?cerebral",
    "IVH": r"ivh|intra ?ventricular",
    "SAH": r"sah|sub ?arachnoid(al)?",
    "SDH": r"a?c?sdh|sub ?dural",
    "EDH": r"edh|eph|epi ?dural|extra ?dural",
}
_ANY_WORDS = r"any|ich|intra ?cranial|ha?emorrhages?|ha?emorrhagic|bleed(ing)?s?|bloods?|ha?ematomas?"
#: What lies around or beside a hemorrhage and may carry its name.
_OTHER_WORDS = r"o?edema|perilesional|peri ?ha?ematomal|no|non|without|brain|skull|ventricles?|infarct|calcifications?"
_NONE_WORDS = r"background|clear label|none|normal"


@dataclass(frozen=True)
class SourceSegment:
    """One label of a source.

    Attributes:
        name: its name, or its value in digits where the source has no names.
        value: stored value.
        layer: which layer of the source holds it.
        region_code: SNOMED CT code of its anatomic region; empty without one.
    """

    name: str
    value: int
    layer: int = 0
    region_code: str = ""


def read_mapping(what: str | Path | Mapping[str, str]) -> dict[str, str]:
    """Targets by label value or normalized segment name.

    Args:
        what: the name of a known data set; the path of a JSON file ``{"3": "SAH", "left subdural": "SDH"}``; or such
            a table itself.

    Raises:
        UsageError: ``USAGE_MAP``, it is neither, or names a target that does not exist.

    >>> read_mapping("bhsd")["5"], read_mapping({"Blood in ventricles": "ivh"})
    ('SDH', {'blood in ventricles': 'IVH'})
    """
    if isinstance(what, Mapping):
        return _checked(what)
    if str(what).lower() in KNOWN_MAPPINGS:
        return dict(KNOWN_MAPPINGS[str(what).lower()])
    path = Path(what)
    try:
        table = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            "USAGE_MAP",
            "The map of labels is neither the name of a data set nor a readable JSON file.",
            f'Names are {", ".join(KNOWN_MAPPINGS)}; a file looks like {{"1": "EDH", "2": "IPH"}}.',
            str(error),
        ) from error
    if not isinstance(table, dict):
        raise UsageError("USAGE_MAP", "The map of labels is no table.", 'Write {"1": "EDH", "2": "IPH"}.')
    return _checked(table)


def _checked(table: Mapping[str, object]) -> dict[str, str]:
    targets = {name.lower(): name for name in (*SUBTYPE_NAMES, ANY, NONE)}
    wrong = [str(value) for value in table.values() if str(value).lower() not in targets]
    if wrong:
        raise UsageError(
            "USAGE_MAP",
            f"The map of labels names {', '.join(sorted(set(wrong)))[:200]}, which is no hemorrhage subtype.",
            f"Choose from {', '.join(targets.values())}.",
        )
    return {_normalized(str(key)): targets[str(value).lower()] for key, value in table.items()}


def guess_target(name: str, region_code: str = "") -> str | None:
    """What a segment's name says it is, with the code of its region where it has one; None where that is unclear.

    >>> guess_target("Extradural haematoma, left"), guess_target("SAH_basal"), guess_target("Perihematomal edema")
    ('EDH', 'SAH', None)
    """
    text = _normalized(name)
    found = {subtype for subtype, words in _SUBTYPE_WORDS.items() if _has(text, words)}
    by_region = {subtype.name for subtype in SUBTYPES if subtype.region and subtype.region[0] == region_code}
    if len(found | by_region) > 1 or _has(text, _OTHER_WORDS):
        return None
    if found or by_region:
        return (found | by_region).pop()
    if _has(text, _NONE_WORDS):
        return NONE
    return ANY if _has(text, _ANY_WORDS) else None


def resolve(
    segments: Sequence[SourceSegment], mapping: Mapping[str, str] | None, *, named: bool, role: str = "truth"
) -> dict[SourceSegment, str]:
    """The target of every segment.

    Args:
        segments: of the source; those without a voxel may be left out where the source has no names.
        mapping: from :func:`read_mapping`; None guesses.
        named: whether segments have names of their own, not just values.
        role: of the source, for messages.

    Raises:
        InputRefused: ``TRUTH_LABELS``, a label is unknown; ``TRUTH_LABELS_AMBIGUOUS``, plain values could be those of
            several data sets.
    """
    if mapping is None and not named:
        mapping = _by_values(segments, role)
    targets = {segment: _target(segment, mapping, named) for segment in segments}
    unknown = [segment.name for segment, target in targets.items() if target is None]
    if unknown:
        listed = ", ".join(f"“{name[:60]}”" for name in unknown[:12]) + (" …" if len(unknown) > 12 else "")
        raise InputRefused(
            f"{role.upper()}_LABELS",
            f"The {role} has labels whose meaning is not known: {listed}.",
            f"Say what they are with --map: the name of a data set ({', '.join(KNOWN_MAPPINGS)}) or a JSON file "
            f'such as {{"{unknown[0][:60]}": "SDH"}}, with "none" for what is no hemorrhage.',
        )
    return {segment: target for segment, target in targets.items() if target is not None}


def told_subtypes(targets: Collection[str], mapping: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The subtypes that a source can tell.

    With a mapping those that it names: it describes a data set. Without one a source that names subtypes tells them
    all, since a segment that is not there was not drawn, unless it also holds a hemorrhage of untold subtype.

    >>> told_subtypes({"SDH"}), told_subtypes({"SDH", "any"}), told_subtypes({"IPH"}, {"1": "IPH", "2": "IVH"})
    (('IPH', 'IVH', 'SAH', 'SDH', 'EDH'), ('SDH',), ('IPH', 'IVH'))
    """
    wanted = set(targets) if mapping is None else set(mapping.values())
    if mapping is None and ANY not in wanted:
        return SUBTYPE_NAMES
    return tuple(name for name in SUBTYPE_NAMES if name in wanted)


def _by_values(segments: Sequence[SourceSegment], role: str) -> Mapping[str, str]:
    """A mapping for plain values: one value alone is a binary mask, several may mean anything."""
    values = {segment.value for segment in segments}
    if len(values) <= 1:
        return KNOWN_MAPPINGS["binary"] if values else KNOWN_MAPPINGS["hemocam"]
    if values <= {subtype.label for subtype in SUBTYPES}:
        raise InputRefused(
            f"{role.upper()}_LABELS_AMBIGUOUS",
            f"The {role} has label values but no names for them, and data sets number the subtypes differently.",
            "Add --map hemocam (1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH), --map bhsd (1 EDH, 2 IPH, 3 IVH, 4 SAH, 5 SDH) "
            "or --map FILE.",
        )
    return {}


def _target(segment: SourceSegment, mapping: Mapping[str, str] | None, named: bool) -> str | None:
    if mapping is not None:
        for key in (_normalized(segment.name), str(segment.value), _EVERY):
            if key in mapping:
                return mapping[key]
    return guess_target(segment.name, segment.region_code) if named else None


def _normalized(name: str) -> str:
    """Lower case, words by single spaces; the star that stands for every label stays."""
    return name if name == _EVERY else re.sub(r"[\W_]+", " ", name.lower()).strip()


def _has(text: str, words: str) -> bool:
    return re.search(rf"\b(?:{words})\b", text) is not None
