"""What is compared: any hemorrhage, and each subtype; and how a voxel says which of them it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.errors import UsageError
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES, SUBTYPES

#: One byte a voxel: bit n is set where subtype n of SUBTYPES is, so that overlapping segments lose nothing.
Members = NDArray[np.uint8]

#: Everything that is compared, in the order of tables.
STRUCTURES: tuple[str, ...] = (ANY, *SUBTYPE_NAMES)

#: Bit of each subtype.
BIT: dict[str, int] = {subtype.name: 1 << index for index, subtype in enumerate(SUBTYPES)}

#: Bit of a hemorrhage whose subtype the source does not tell; it counts for "any" alone.
UNSPECIFIED = 1 << len(SUBTYPES)

#: Number of values a byte of members can take.
CODES = 1 << (len(SUBTYPES) + 1)

#: Label value 0-5 to its byte.
LABEL_TO_MEMBERS: Members = np.array([0, *(BIT[subtype.name] for subtype in SUBTYPES)], np.uint8)


def membership() -> NDArray[np.int64]:
    """[structure, code] 1 where a byte of that value belongs to the structure, in the order of STRUCTURES."""
    codes = np.arange(CODES)
    rows = [codes > 0, *((codes & BIT[name]) > 0 for name in SUBTYPE_NAMES)]
    return np.stack(rows).astype(np.int64)


def mask_of(members: Members, structure: str) -> NDArray[np.bool_]:
    """The voxels of one structure; same shape as ``members``.

    >>> mask_of(np.array([0, BIT["SAH"], UNSPECIFIED], np.uint8), "any").tolist()
    [False, True, True]
    """
    mask: NDArray[np.bool_] = members > 0 if structure == ANY else (members & BIT[structure]) > 0
    return mask


def members_of_labels(labels: NDArray[Any]) -> Members:
    """Bytes of a label map in HemoCAM's own values.

    Args:
        labels: integers of any shape; 0 none, 1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH.

    Raises:
        UsageError: another value is among them (``USAGE_LABELS``).

    >>> members_of_labels(np.array([0, 1, 5])).tolist()
    [0, 1, 16]
    """
    array = np.asarray(labels)
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if array.dtype.kind not in "iu":
        raise UsageError("USAGE_LABELS", "A label map must hold whole numbers.", "Pass values 0 to 5.")
    if array.size and (int(array.max()) > len(SUBTYPES) or int(array.min()) < 0):
        raise UsageError(
            "USAGE_LABELS",
            "The label map holds values other than 0 to 5.",
            "Say what its values mean: 1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH.",
        )
    members: Members = LABEL_TO_MEMBERS[array]
    return members
