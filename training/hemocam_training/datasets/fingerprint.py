"""What makes a slice recognisable in another dataset, however it was stored there.

The same slice lies in RSNA 2019 as DICOM and in BHSD as NIfTI: other bytes, other axes, perhaps other rounding and
padding, but the same head. A fingerprint holds two looks at it, in HU after the rescale and in units of the head's own
size, so that neither pixel size nor place in the image matters:

- the share of tissue by density, which no turn or flip changes; near ones are found in a tree;
- the mean density in a grid of 12 x 12 cells, which is compared in all eight orientations and decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

CELLS = 12
#: Middles of overlapping classes of density in HU; narrow where brain and blood are.
CLASSES_HU = np.array([-100, -50, -10, 5, 15, 22, 29, 36, 43, 55, 75, 110, 200, 500, 1000], np.float32)
#: Side of the grid in radii of a disk with the area of the head.
_SIDE = 2.6
_LOW_HU, _HIGH_HU = -200.0, 310.0
_STEP_HU = 2.0
#: A slice with less tissue than this share of the image is the end of a scan, and any two look alike.
_LEAST_TISSUE = 0.03
LENGTH = 2 * len(CLASSES_HU) + CELLS * CELLS

#: Largest distance of density shares, and mean difference of cells, at which two slices are the same one.
#: One slice after a turn, a flip and rounding stays within 0.005 and 0.1 HU, after a shift of 1 HU within 0.06 and
#: 0.7 HU, at half the pixels mostly within 0.03 and 2 HU; slices of different phantoms are at least 6.7 HU apart.
NEAR_SHARES = 0.07
SAME_HU = 2.0


def slice_fingerprint(
    image: NDArray[np.generic], pixel_spacing_mm: tuple[float, float] = (1.0, 1.0), modality: str = "CT"
) -> bytes:
    """The fingerprint of a slice; empty where too little tissue is in it to tell it from others.

    Args:
        image: [row, column] in HU; any unit where ``modality`` is not CT.
        pixel_spacing_mm: between rows and between columns; only their ratio matters.
        modality: intensities of ``MR`` are first brought to the range of HU by their own 99th percentile.

    Returns:
        174 bytes: uint16 shares by density, uint8 mean density of cells in steps of 2 HU from -200.
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
    radius_mm = np.sqrt(area_px * row_mm * column_mm / np.pi)
    pitch_mm = _SIDE * radius_mm / CELLS
    down = _cell_weights(rows, row_mm, pitch_mm)
    across = _cell_weights(columns, column_mm, pitch_mm)
    # What lies outside the image counts as air: the weights' sum inside is not what is divided by.
    above = np.clip(hu, _LOW_HU, _HIGH_HU) - np.float32(_LOW_HU)
    cells = (down @ above @ across.T) * np.float32(row_mm * column_mm / pitch_mm**2)
    shares = _shares(hu, tissue) / area_px
    return (
        np.rint(shares * 65535).clip(0, 65535).astype("<u2").tobytes()
        + np.rint(cells / _STEP_HU).clip(0, 255).astype(np.uint8).tobytes()
    )


def _cell_weights(profile: NDArray[np.float32], spacing_mm: float, pitch_mm: float) -> NDArray[np.float32]:
    """[cell, pixel] share of each pixel in each cell around the middle of the tissue; a flip swaps cells."""
    places = np.arange(profile.size) * spacing_mm
    middle = float(places @ profile) / float(profile.sum())
    cells = (np.arange(CELLS) - (CELLS - 1) / 2) * pitch_mm
    distance = np.abs(places[None, :] - middle - cells[:, None]) / pitch_mm
    return np.clip(1 - distance, 0, None).astype(np.float32)


def _shares(hu: NDArray[np.float32], tissue: NDArray[np.float32]) -> NDArray[np.float64]:
    """Tissue by class of density; a pixel between two middles counts for both in part, so rounding changes little."""
    flat, weight = hu.ravel(), tissue.ravel()
    inside = weight > 0
    flat, weight = flat[inside], weight[inside]
    place = np.interp(flat, CLASSES_HU, np.arange(len(CLASSES_HU)))
    low = np.minimum(place.astype(np.intp), len(CLASSES_HU) - 2)
    part = place - low
    count = len(CLASSES_HU)
    return np.bincount(low, weight * (1 - part), count) + np.bincount(low + 1, weight * part, count)


def _decoded(fingerprints: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shares [n, class] and cells [n, 12, 12] in HU."""
    raw = np.frombuffer(b"".join(fingerprints), np.uint8).reshape(-1, LENGTH)
    split = 2 * len(CLASSES_HU)
    shares = np.ascontiguousarray(raw[:, :split]).view("<u2").astype(np.float32) / 65535
    cells = raw[:, split:].reshape(-1, CELLS, CELLS).astype(np.float32) * _STEP_HU + _LOW_HU
    return shares, cells


def _orientations(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """[8, 12, 12]: every quarter turn, and every one mirrored."""
    turned = [np.rot90(cells, quarter) for quarter in range(4)]
    return np.stack([*turned, *(one[:, ::-1] for one in turned)])


def fingerprint_distance(one: bytes, other: bytes) -> tuple[float, float]:
    """Distance of density shares, and the mean difference of cells in HU in the orientation where it is least."""
    shares, cells = _decoded([one, other])
    apart = float(np.linalg.norm(shares[0] - shares[1]))
    return apart, float(np.abs(_orientations(cells[1]) - cells[0]).mean(axis=(1, 2)).min())


def matching_slices(
    known: Sequence[bytes], looked_for: Sequence[bytes], near_shares: float = NEAR_SHARES, same_hu: float = SAME_HU
) -> Iterator[tuple[int, int, float]]:
    """Pairs of slices that are the same one: (index of known, index of looked for, difference in HU).

    Empty fingerprints match nothing.
    """
    there = [index for index, one in enumerate(known) if one]
    asked = [index for index, one in enumerate(looked_for) if one]
    if not there or not asked:
        return
    shares, cells = _decoded([known[index] for index in there])
    asked_shares, asked_cells = _decoded([looked_for[index] for index in asked])
    near = cKDTree(shares).query_ball_point(asked_shares, near_shares, return_sorted=True)
    for row, candidates in enumerate(near):
        if not candidates:
            continue
        turned = _orientations(asked_cells[row])
        differences = np.abs(cells[candidates][:, None] - turned[None]).mean(axis=(2, 3)).min(axis=1)
        for candidate, difference in zip(candidates, differences, strict=True):
            if difference <= same_hu:
                yield there[candidate], asked[row], float(difference)
