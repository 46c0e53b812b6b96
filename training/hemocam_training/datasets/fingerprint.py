"""What makes a slice recognisable in another dataset, however it was stored there.

The same slice lies in RSNA 2019 as DICOM and in BHSD as NIfTI: other bytes, other axes, perhaps other rounding and
padding, but the same head. Its fingerprint is the mean density in 12 x 12 cells, in HU after the rescale, around the
middle of the tissue and in units of the head's own size, so that neither pixel size nor place in the image matters.
Two are compared in all eight orientations of a square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

CELLS = 12
#: Side of the grid in radii of a disk with the area of the head.
_SIDE = 2.6
_LOW_HU, _HIGH_HU = -200.0, 310.0
_STEP_HU = 2.0
#: A slice with less tissue than this share of the image is the end of a scan, and any two look alike.
_LEAST_TISSUE = 0.03
LENGTH = CELLS * CELLS

#: Mean difference of cells at which two slices are the same one. After turns, flips and rounding it is below 0.1 HU,
#: after a shift by 1 HU below 0.7, at half the pixels mostly below 2; slices of different phantoms are at least 6.7
#: apart.
SAME_HU = 2.0
#: Slices looked for together.
_AT_ONCE = 128


def slice_fingerprint(
    image: NDArray[np.generic], pixel_spacing_mm: tuple[float, float] = (1.0, 1.0), modality: str = "CT"
) -> bytes:
    """The fingerprint of a slice; empty where too little tissue is in it to tell it from others.

    Args:
        image: [row, column] in HU; any unit where ``modality`` is not CT.
        pixel_spacing_mm: between rows and between columns; only their ratio matters.
        modality: intensities of ``MR`` are first brought to the range of HU by their own 99th percentile.

    Returns:
        144 bytes: mean density of the cells in steps of 2 HU from -200.
    """
    hu = np.asarray(image, np.float32)
    if modality != "CT":
        bright = float(np.percentile(hu, 99))
        if bright <= 0:
            return b""
        hu = hu / np.float32(bright) * 500 - 300
    tissue = np.clip((hu + 300) / 200, 0, 1)
    rows, columns = tissue.sum(axis=1), tissue.sum(axis=0)
    area_px = float(rows.sum())
    if area_px < _LEAST_TISSUE * hu.size:
        return b""
    row_mm, column_mm = pixel_spacing_mm
    pitch_mm = _SIDE * float(np.sqrt(area_px * row_mm * column_mm / np.pi)) / CELLS
    down = _cell_weights(rows, row_mm, pitch_mm)
    across = _cell_weights(columns, column_mm, pitch_mm)
    # What lies outside the image counts as air: the weights' sum inside is not what is divided by.
    above = np.clip(hu, _LOW_HU, _HIGH_HU) - np.float32(_LOW_HU)
    cells = (down @ above @ across.T) * np.float32(row_mm * column_mm / pitch_mm**2)
    return np.rint(cells / _STEP_HU).clip(0, 255).astype(np.uint8).tobytes()


def _cell_weights(profile: NDArray[np.float32], spacing_mm: float, pitch_mm: float) -> NDArray[np.float32]:
    """[cell, pixel] share of each pixel in each cell around the middle of the tissue; a flip swaps cells."""
    places = np.arange(profile.size) * spacing_mm
    middle = float(places @ profile) / float(profile.sum())
    cells = (np.arange(CELLS) - (CELLS - 1) / 2) * pitch_mm
    distance = np.abs(places[None, :] - middle - cells[:, None]) / pitch_mm
    return np.clip(1 - distance, 0, None).astype(np.float32)


def _decoded(fingerprints: Sequence[bytes]) -> NDArray[np.float32]:
    """[n, 12, 12] in HU."""
    raw = np.frombuffer(b"".join(fingerprints), np.uint8).reshape(-1, CELLS, CELLS)
    return raw.astype(np.float32) * np.float32(_STEP_HU) + np.float32(_LOW_HU)


def _orientations(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """[8, 12, 12]: every quarter turn, and every one mirrored."""
    turned = [np.rot90(cells, quarter) for quarter in range(4)]
    return np.stack([*turned, *(one[:, ::-1] for one in turned)])


def _orbit_of_cells() -> NDArray[np.intp]:
    """[144] cells that turns and flips bring onto each other have the same number."""
    numbers = np.arange(CELLS * CELLS, dtype=np.float32).reshape(CELLS, CELLS)
    first = _orientations(numbers).min(axis=0)
    return np.unique(first.ravel(), return_inverse=True)[1].reshape(-1)


_ORBITS = _orbit_of_cells()


def _unturned(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, 21] sums over cells that turns and flips exchange, over the number of cells.

    By the triangle inequality the sum of their differences is never larger than the mean difference of the cells in
    any orientation, so a search by it misses nothing.
    """
    which = np.zeros((CELLS * CELLS, int(_ORBITS.max()) + 1), np.float32)
    which[np.arange(CELLS * CELLS), _ORBITS] = 1 / LENGTH
    sums: NDArray[np.float32] = cells.reshape(len(cells), -1) @ which
    return sums


def fingerprint_distance(one: bytes, other: bytes) -> float:
    """The mean difference of cells in HU, in the orientation where it is least."""
    cells = _decoded([one, other])
    return float(np.abs(_orientations(cells[1]) - cells[0]).mean(axis=(1, 2)).min())


def matching_slices(
    known: Sequence[bytes], looked_for: Sequence[bytes], same_hu: float = SAME_HU
) -> Iterator[tuple[int, int, float]]:
    """Pairs of slices that are the same one: (index of known, index of looked for, difference in HU).

    Empty fingerprints match nothing.
    """
    there = [index for index, one in enumerate(known) if one]
    asked = [index for index, one in enumerate(looked_for) if one]
    if not there or not asked:
        return
    cells, asked_cells = _decoded([known[index] for index in there]), _decoded([looked_for[index] for index in asked])
    tree, keys = cKDTree(_unturned(cells)), _unturned(asked_cells)
    # Sums in single precision are a little off.
    reach = same_hu + 1e-3
    for start in range(0, len(asked), _AT_ONCE):
        near = tree.query_ball_point(keys[start : start + _AT_ONCE], reach, p=1, return_sorted=True)
        for row, candidates in enumerate(near, start):
            if not candidates:
                continue
            turned = _orientations(asked_cells[row])
            differences = np.abs(cells[candidates][:, None] - turned[None]).mean(axis=(2, 3)).min(axis=1)
            for place in np.flatnonzero(differences <= same_hu):
                yield there[candidates[place]], asked[row], float(differences[place])
