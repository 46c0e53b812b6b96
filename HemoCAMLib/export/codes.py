"""The coded concepts that an export speaks in, and the private ones among them.

Standard concepts come from SNOMED CT (designator ``SCT``), DICOM's own terms (``DCM``, PS3.16 annex D) and UCUM.
What has no verified standard code gets one under the private designator ``99HEMOCAM`` (PS3.16 section 8.2), which
every object that uses it describes in its Coding Scheme Identification Sequence (PS3.3 C.12.1.1.7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.sr.coding import Code

from HemoCAMLib.subtypes import CATEGORY_CODE, TYPE_CODE, Subtype

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

PRIVATE_SCHEME = "99HEMOCAM"

CATEGORY = Code(CATEGORY_CODE[0], "SCT", CATEGORY_CODE[1])
HEMORRHAGE = Code(TYPE_CODE[0], "SCT", TYPE_CODE[1])

HEAD = Code("69536005", "SCT", "Head")
CT_OF_HEAD = Code("303653007", "SCT", "Computed tomography of head")
LATERALITY = Code("272741003", "SCT", "Laterality")
#: By the side that a result names; "none" has no code, because nothing lies anywhere.
SIDES = {
    "left": Code("7771000", "SCT", "Left"),
    "right": Code("24028007", "SCT", "Right"),
    "both": Code("51440002", "SCT", "Right and left"),
}

PRESENCE = Code("121052", "DCM", "Presence of property")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("272519000", "SCT", "Absent")

VOLUME = Code("118565006", "SCT", "Volume")
PROBABILITY = Code("122157", "DCM", "Probability")
MAXIMUM = Code("56851009", "SCT", "Maximum")
LESION_COUNT = Code("246206008", "SCT", "Number of lesions")
DIAMETER = Code("81827009", "SCT", "Diameter")

#: A second volume under the name "Volume" could be added to the first by a program that reads both.
ABC2_VOLUME = Code("abc2-volume", PRIVATE_SCHEME, "ABC/2 volume")
SLICE_COUNT = Code("slice-count", PRIVATE_SCHEME, "Number of slices that show the finding")
SUBTYPE = Code("subtype", PRIVATE_SCHEME, "Hemorrhage subtype")
CLASS_ACTIVATION = Code("class-activation", PRIVATE_SCHEME, "Class activation")

MILLILITRE = Code("mL", "UCUM", "mL")
MILLIMETRE = Code("mm", "UCUM", "mm")
NO_UNITS = Code("1", "UCUM", "no units")
SLICES = Code("{slices}", "UCUM", "slices")
LESIONS = Code("{lesions}", "UCUM", "lesions")

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")


def region_of(subtype: Subtype) -> Code | None:
    """The anatomic region of a subtype, None for EDH: no SNOMED CT code for the epidural space is verified."""
    return None if subtype.region is None else Code(subtype.region[0], "SCT", subtype.region[1])


def subtype_code(subtype: Subtype) -> Code:
    """The subtype itself as a private code.

    >>> from HemoCAMLib.subtypes import subtype_named
    >>> subtype_code(subtype_named("EDH"))
    Code(value='EDH', scheme_designator='99HEMOCAM', meaning='Epidural hematoma', scheme_version=None)
    """
    return Code(subtype.name, PRIVATE_SCHEME, subtype.title)


def private_scheme() -> CodingSchemeIdentificationItem:
    """What an object says about the private designator."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME, name="HemoCAM private codes", responsible_organization="HemoCAM"
    )
