"""The five hemorrhage subtypes: the only place that knows their order, names, colours and codes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subtype:
    """One hemorrhage subtype.

    Attributes:
        label: value in label maps; 0 is reserved for no hemorrhage.
        name: abbreviation used in tables and results.
        title: full name.
        region: anatomic region as ``(SNOMED CT code, meaning)``, or None where no verified code exists.
        color_rgb: display colour, each channel 0-255.
    """

    label: int
    name: str
    title: str
    region: tuple[str, str] | None
    color_rgb: tuple[int, int, int]


SUBTYPES: tuple[Subtype, ...] = (
    Subtype(1, "IPH", "Intraparenchymal hemorrhage", ("12738006", "Brain"), (230, 57, 70)),
    Subtype(2, "IVH", "Intraventricular hemorrhage", ("35764002", "Brain ventricle"), (69, 123, 227)),
    Subtype(3, "SAH", "Subarachnoid hemorrhage", ("35951006", "Subarachnoid space"), (247, 183, 49)),
    Subtype(4, "SDH", "Subdural hematoma", ("54214006", "Subdural space"), (46, 178, 114)),
    # No verified SNOMED CT code for the epidural space is known, so none is given.
    Subtype(5, "EDH", "Epidural hematoma", None, (165, 94, 234)),
)

SUBTYPE_NAMES: tuple[str, ...] = tuple(subtype.name for subtype in SUBTYPES)

#: The class "this slice bleeds at all", first in the order of a six-class network.
ANY = "any"

#: Class order of a network with six outputs (paper 3's published code): any, then the subtypes.
CLASS_NAMES: tuple[str, ...] = (ANY, *SUBTYPE_NAMES)

#: SNOMED CT category and type shared by all subtypes: (code, meaning).
CATEGORY_CODE = ("49755003", "Morphologically Abnormal Structure")
TYPE_CODE = ("50960005", "Hemorrhage")


def subtype_named(name: str) -> Subtype:
    """The subtype with that abbreviation.

    Raises:
        KeyError: no such subtype.

    >>> subtype_named("SAH").label
    3
    """
    return {subtype.name: subtype for subtype in SUBTYPES}[name]
