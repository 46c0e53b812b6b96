"""Finds the space inside the skull on the small copy of a scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.mask.low_resolution import LowResolutionScan

Mask = NDArray[np.bool_]
Share = NDArray[np.float32]

#: Above the densest blood (about 100 HU) with noise, below thin bone that shares its voxel with brain.
BONE_HU = 140.0

#: Beam hardening darkens brain between the petrous bones below water; fat is below -50.
SOFT_TISSUE_HU = (-25.0, 110.0)

#: Everything below is air, foam or lung.
AIR_HU = -300.0

#: Half the width of the widest opening in the skull that brain must not leak through.
NECK_RADIUS_MM = 5.0

#: How far beyond the eroded core the space may reach again, past the erosion itself.
REGAIN_MM = 3.0

#: A pixel on the straight line that would close the skull's gap sees bone in half of the directions.
BEHIND_GAP = 0.46


@dataclass(frozen=True)
class Surroundings:
    """What a region of soft tissue must have around it to count as inside the skull.

    Attributes:
        enclosed: mean share of in-plane directions in which bone lies. Low for scalp, neck and open orbits.
        bony: share of its pixels whose nearest other tissue is bone rather than fat or air. Near 1 for brain,
            near 0 for eyes and muscle, even where bone surrounds those.
        depth_mm: radius of the largest disc that fits in.
        area_mm2: of the region after erosion.
    """

    enclosed: float
    bony: float
    depth_mm: float = 0.0
    area_mm2: float = 0.0


#: May be inside: the largest connected body of such regions is taken.
LIKELY = Surroundings(enclosed=0.9, bony=0.75)

#: So large that only brain can be it, although a piece of skull may be missing or air has entered.
LARGE = Surroundings(enclosed=0.55, bony=0.5, area_mm2=3500.0)

#: Is inside, although no neighbouring slab confirms it.
CERTAIN = Surroundings(enclosed=0.99, bony=0.9, depth_mm=10.0)

#: Area of the foramen magnum; the space ends where it has narrowed to this on the way down.
FORAMEN_MAGNUM_MM2 = 900.0


def intracranial_space(scan: LowResolutionScan) -> Mask:
    """[slab, rows, columns] brain, ventricles and everything else within the inner table, as far as 2 mm can tell.

    Empty where no soft tissue is enclosed by bone.
    """
    bone = skull(scan)
    enclosed = share_of_directions_blocked(bone)
    soft = ~bone & (scan.mean_hu > SOFT_TISSUE_HU[0]) & (scan.mean_hu < SOFT_TISSUE_HU[1])
    fat_or_air = ~bone & (scan.mean_hu <= SOFT_TISSUE_HU[0])
    likely, certain = _enclosed_regions(soft, fat_or_air, enclosed, scan.pixel_mm)
    core = certain if scan.mean_hu.shape[0] == 1 else certain | _main_body(likely)
    core = _without_spinal_canal(core, scan)
    return _regained(core, soft & (enclosed > BEHIND_GAP), scan.pixel_mm)


def skull(scan: LowResolutionScan) -> Mask:
    """[slab, rows, columns] dense structures except those that mostly border on air: table, head holder, cables."""
    dense = scan.densest_hu > BONE_HU
    numbered, count = ndimage.label(dense, structure=np.ones((3, 3, 3), bool))
    if count == 0:
        return dense
    air = scan.mean_hu < AIR_HU
    exposed, to_air = np.zeros(count + 1), np.zeros(count + 1)
    for axis in (1, 2):
        for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[1:], np.s_[:-1])):
            here = (slice(None), first) if axis == 1 else (slice(None), slice(None), first)
            there = (slice(None), second) if axis == 1 else (slice(None), slice(None), second)
            edge = dense[here] & ~dense[there]
            exposed += np.bincount(numbered[here][edge], minlength=count + 1)
            to_air += np.bincount(numbered[here][edge & air[there]], minlength=count + 1)
    kept = to_air < 0.5 * np.maximum(exposed, 1)
    kept[0] = False
    result: Mask = kept[numbered]
    return result


def share_of_directions_blocked(bone: Mask) -> Share:
    """[slab, rows, columns] share of 16 in-plane directions in which bone lies somewhere before the image ends."""
    counts = np.zeros(bone.shape, np.uint8)
    for along_rows in (True, False):
        # Diagonals are met once, while rows are walked; the transposed walk would count them again.
        slopes = [(0, 1), (-1, 1), (1, 1), (-1, 2), (1, 2)] if along_rows else [(0, 1), (-1, 2), (1, 2)]
        turned, tally = (bone, counts) if along_rows else (bone.transpose(0, 2, 1), counts.transpose(0, 2, 1))
        for flip in (1, -1):
            for drift, step in slopes:
                tally[:, ::flip] += _seen_along(turned[:, ::flip], drift, step)
    share: Share = counts.astype(np.float32) / np.float32(16)
    return share


def _seen_along(bone: Mask, drift: int, step: int) -> Mask:
    """Whether bone lies on the ray from each pixel towards lower rows that drifts so many columns per step of rows."""
    slabs, rows, columns = bone.shape
    met = np.zeros((rows, slabs, columns + 2), bool)
    met[:, :, 1:-1] = bone.transpose(1, 0, 2)
    seen = np.zeros((rows, slabs, columns), bool)
    shifted = np.s_[:, 1 + drift : columns + 1 + drift]
    for row in range(1, rows):
        if step == 2:
            # The pixel passed half-way belongs to the ray, or walls one pixel thick would be stepped over.
            seen[row] = bone[:, row - 1]
        if row >= step:
            seen[row] |= met[row - step][shifted]
        met[row, :, 1:-1] |= seen[row]
    turned_back: Mask = seen.transpose(1, 0, 2)
    return turned_back


def _enclosed_regions(
    soft: Mask, fat_or_air: Mask, enclosed: Share, pixel_mm: tuple[float, float]
) -> tuple[Mask, Mask]:
    """The in-plane regions of the eroded soft tissue that may be inside the skull, and those that surely are."""
    depth_mm, bony = _nearest_other_tissue(soft, fat_or_air, pixel_mm)
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    core = depth_mm > NECK_RADIUS_MM
    numbered, count = ndimage.label(core, structure=in_plane)
    if count == 0:
        return core, core
    flat = numbered.ravel()
    pixels = np.bincount(flat, minlength=count + 1)
    mean_enclosed = np.bincount(flat, weights=enclosed.ravel(), minlength=count + 1) / np.maximum(pixels, 1)
    mean_bony = np.bincount(flat, weights=bony.ravel(), minlength=count + 1) / np.maximum(pixels, 1)
    deepest_mm = ndimage.maximum(depth_mm, numbered, np.arange(count + 1))

    def fitting(wanted: Surroundings) -> Mask:
        fits: Mask = (mean_enclosed >= wanted.enclosed) & (mean_bony >= wanted.bony)
        fits &= (deepest_mm >= wanted.depth_mm) & (pixels * pixel_mm[0] * pixel_mm[1] >= wanted.area_mm2)
        fits[0] = False
        return fits

    large = fitting(LARGE)
    certain = fitting(CERTAIN)
    if soft.shape[0] == 1:
        # A lone slice of a head without a piece of skull must still be measured.
        certain |= large
    return (fitting(LIKELY) | large)[numbered], certain[numbered]


def _nearest_other_tissue(soft: Mask, fat_or_air: Mask, pixel_mm: tuple[float, float]) -> tuple[Share, Mask]:
    """Distance (mm) in its slab of each soft pixel to the nearest that is not, and whether that one is bone.

    The image border counts as the outside, and as neither bone nor air.
    """
    depth_mm = np.zeros(soft.shape, np.float32)
    bony = np.zeros(soft.shape, bool)
    for slab in np.flatnonzero(soft.any(axis=(1, 2))):
        distance, nearest = ndimage.distance_transform_edt(
            np.pad(soft[slab], 1), sampling=pixel_mm, return_indices=True
        )
        depth_mm[slab] = distance[1:-1, 1:-1]
        bony[slab] = ~np.pad(fat_or_air[slab], 1)[nearest[0], nearest[1]][1:-1, 1:-1]
    return depth_mm, bony


def _main_body(core: Mask) -> Mask:
    """The largest connected part in 3-D; neighbouring slabs are connected where they overlap."""
    across = ndimage.generate_binary_structure(3, 1)
    numbered, count = ndimage.label(core, structure=across)
    if count < 2:
        return core
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    body: Mask = numbered == int(sizes.argmax())
    return body


def _without_spinal_canal(core: Mask, scan: LowResolutionScan) -> Mask:
    """The core from where it is wider than the foramen magnum, seen from the feet."""
    areas_mm2 = np.count_nonzero(core, axis=(1, 2)) * (scan.pixel_mm[0] * scan.pixel_mm[1])
    wide = np.flatnonzero(areas_mm2 >= _eroded_area_mm2(FORAMEN_MAGNUM_MM2))
    if core.shape[0] == 1 or wide.size == 0:
        return core
    head: Mask = core.copy()
    head[: wide[0]] = False
    return head


def _eroded_area_mm2(area_mm2: float) -> float:
    """Area of a disc after the core's erosion."""
    radius_mm = float(np.sqrt(area_mm2 / np.pi)) - NECK_RADIUS_MM
    return float(np.pi * radius_mm**2)


def _regained(core: Mask, allowed: Mask, pixel_mm: tuple[float, float]) -> Mask:
    """The core grown back over its erosion and a little more, within what is allowed, holes filled."""
    space = np.zeros(core.shape, bool)
    for slab in np.flatnonzero(core.any(axis=(1, 2))):
        distance = ndimage.distance_transform_edt(~core[slab], sampling=pixel_mm)
        # Muscle across thin bone is near the core, but nothing connects it.
        grown = touching(allowed[slab] & (distance <= NECK_RADIUS_MM + REGAIN_MM), core[slab])
        space[slab] = ndimage.binary_fill_holes(grown)
    return space


def touching(mask: Mask, core: Mask) -> Mask:
    """The 4-connected parts of a [rows, columns] mask that reach into a core."""
    numbered, count = ndimage.label(mask)
    kept = np.zeros(count + 1, bool)
    kept[numbered[core]] = True
    kept[0] = False
    result: Mask = kept[numbered]
    return result
