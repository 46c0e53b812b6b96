"""Synthetic bleeding in a real scan that has none: exact labels on real anatomy, noise and artefacts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hemocam_training.errors import DataRefused
from hemocam_training.phantoms.clots import Shares, draw_clots
from hemocam_training.phantoms.grid import Field, HeadGrid, smoothstep
from hemocam_training.phantoms.head import Anatomy, random_shape
from hemocam_training.phantoms.phantom import BONE_EDGE_HU, LABEL_SHARE
from hemocam_training.phantoms.plan import MIXTURES, blood_in_csf, plan_clots
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import find_brain
from HemoCAMLib.subtypes import SUBTYPES

#: Grid on which lesions are drawn (z along the slices' normal, rows, columns), mm.
STEP_MM = (2.0, 1.0, 1.0)

#: What the bleeds are planned for: half width, half length, and height of the vertex above the origin, mm.
LAYOUT_MM = (66.0, 84.0, 73.0)

#: CSF farther than this from the skull and near the midline is a ventricle.
VENTRICLE_DEPTH_MM = 22.0


@dataclass(frozen=True, eq=False)
class InsertedLesions:
    """A scan with lesions that were not there.

    Attributes:
        hu: [slice, row, column] int16.
        labels: [slice, row, column] uint8, 0 none, else the subtype's label.
        volumes_ml: by subtype name, slice extents included.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    volumes_ml: dict[str, float]


def insert_lesions(
    hu: NDArray[np.int16], geometry: SliceGeometry, rng: np.random.Generator, subtypes: tuple[str, ...] | None = None
) -> InsertedLesions:
    """Draw bleeding into a scan without any.

    Lesions have the shapes and densities of the phantoms' and follow the scan: subarachnoid blood its sulci and
    cisterns, intraventricular blood its ventricles, subdural and epidural blood its inner table, all seen through
    its slice thickness. The scan's noise stays. The brain is not pushed aside.

    Args:
        hu: [slice, row, column] HU, in the geometry's order.
        geometry: true positions.
        rng: source of chance.
        subtypes: what bleeds; a usual combination by chance where None.

    Raises:
        DataRefused: no brain was found (``DATA_NO_BRAIN``).
    """
    found = find_brain(hu, geometry)
    brain = np.stack([found.slice(index, image) for index, image in enumerate(hu)])
    if not brain.any():
        raise DataRefused(
            "DATA_NO_BRAIN", "No brain was found in the scan.", "Give a head CT in Hounsfield units with its skull."
        )
    bleeding = [one for _, one in MIXTURES if one]
    chosen = bleeding[int(rng.integers(len(bleeding)))] if subtypes is None else subtypes
    frame = _Frame(brain, geometry)
    head, fixed = _head_of_scan(frame, hu, brain, rng)
    before = head.hu.copy()
    clots = plan_clots(rng, chosen)
    rough = head.grid.noise(rng, 26)
    bloody = blood_in_csf(head.grid, clots, fixed, rough)
    shares = draw_clots(head, clots, bloody, fixed, rough, rng)
    filled = frame.to_slices(np.minimum(sum(shares.values(), np.zeros_like(before)), 1))
    change = frame.to_slices(head.hu - before)
    # Where blood fills a pixel nothing but the noise stays of what the slice shows in finer detail than the grid.
    change += filled * (frame.to_slices(before) - _without_noise(hu, geometry))
    changed = np.where(brain, hu + change, hu)
    labels = _labels(frame, shares, brain & (changed < BONE_EDGE_HU))
    stored = np.clip(np.rint(changed), -32768, 32767).astype(np.int16)
    areas = np.stack([(labels == subtype.label).sum(axis=(1, 2)) for subtype in SUBTYPES]) * geometry.pixel_area_mm2
    volumes = areas @ geometry.extents_mm / 1000
    return InsertedLesions(
        stored, labels, {subtype.name: float(v) for subtype, v in zip(SUBTYPES, volumes, strict=True)}
    )


def _without_noise(hu: NDArray[np.int16], geometry: SliceGeometry) -> Field:
    """[slice, row, column] smoothed within the slices by about what noise needs."""
    width = (0.0, *(0.9 / spacing for spacing in geometry.pixel_spacing_mm))
    return np.asarray(ndimage.gaussian_filter(np.clip(hu, -50, 150).astype(np.float32), width, truncate=3.0))


class _Frame:
    """A grid in the scan's own directions, its centre in the brain, and the way between grid and slices."""

    def __init__(self, brain: NDArray[np.bool_], geometry: SliceGeometry) -> None:
        row_mm, column_mm = geometry.pixel_spacing_mm
        areas = brain.sum(axis=(1, 2))
        wide = brain[areas >= 0.7 * areas.max()].any(axis=0)
        rows, columns = np.flatnonzero(wide.any(axis=1)), np.flatnonzero(wide.any(axis=0))
        self.left = 1.0 if geometry.row_direction[0] >= 0 else -1.0
        self.back = 1.0 if geometry.column_direction[1] >= 0 else -1.0
        self.up = 1.0 if geometry.normal[2] >= 0 else -1.0
        used = np.flatnonzero(areas > 0.02 * areas.max())
        offsets = geometry.offsets_mm * self.up
        self.half_width_mm = float((columns[-1] - columns[0] + 1) * column_mm / 2)
        self.half_length_mm = float((rows[-1] - rows[0] + 1) * row_mm / 2)
        middle_row, middle_column = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
        self.x_mm = (np.arange(brain.shape[2]) - middle_column) * column_mm * self.left
        self.y_mm = (np.arange(brain.shape[1]) - middle_row) * row_mm * self.back
        # The vertex is where the layout has it; a scan that ends below it is taken to end there.
        self.z_mm = offsets - offsets[used].max() + LAYOUT_MM[2] * self.half_length_mm / LAYOUT_MM[1]
        self.grid = HeadGrid(
            *(
                np.arange(np.floor(axis[kept].min()) - 4, axis[kept].max() + 4, step, dtype=np.float32)
                for axis, kept, step in zip(
                    (self.z_mm, self.y_mm, self.x_mm),
                    (used, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)),
                    STEP_MM,
                    strict=True,
                )
            )
        )
        thickness = np.linspace(-0.4, 0.4, 5)[:, None] * geometry.extents_mm
        self._slices = np.mean([_weights(self.grid.z_mm, self.z_mm + shift) for shift in thickness], axis=0)
        self._rows, self._columns = _weights(self.grid.y_mm, self.y_mm), _weights(self.grid.x_mm, self.x_mm)

    def to_grid(self, slices: NDArray[np.generic]) -> Field:
        """[z, y, x] of [slice, row, column]: area means in-plane, linear between slices."""
        rows, columns = (_normed(weights.T) for weights in (self._rows, self._columns))
        planes = np.stack([columns @ (rows @ image.astype(np.float32)).T for image in slices]).transpose(0, 2, 1)
        between = _weights(self.z_mm, np.clip(self.grid.z_mm, self.z_mm.min(), self.z_mm.max()))
        return np.tensordot(between, planes, axes=(1, 0)).astype(np.float32)

    def to_slices(self, volume: Field) -> Field:
        """[slice, row, column] of [z, y, x], averaged over each slice's extent; zero outside the grid."""
        planes = np.tensordot(self._slices, volume, axes=(1, 0)).astype(np.float32)
        return np.stack([self._rows @ plane @ self._columns.T for plane in planes]).astype(np.float32)


def _weights(axis_mm: NDArray[np.floating], points_mm: NDArray[np.floating]) -> Field:
    """[point, sample] linear interpolation weights on an axis whose steps may vary; zero outside it."""
    order = np.argsort(axis_mm)
    ordered = np.asarray(axis_mm, np.float64)[order]
    points = np.asarray(points_mm, np.float64)
    weights = np.zeros((points.size, ordered.size), np.float32)
    if ordered.size == 1:
        return np.ones_like(weights)
    inside = np.flatnonzero((points >= ordered[0]) & (points <= ordered[-1]))
    right = np.clip(np.searchsorted(ordered, points[inside]), 1, ordered.size - 1)
    share = (points[inside] - ordered[right - 1]) / (ordered[right] - ordered[right - 1])
    weights[inside, order[right - 1]] = 1 - share
    weights[inside, order[right]] += share
    return weights


def _normed(weights: Field) -> Field:
    total: Field = weights.sum(axis=1, keepdims=True)
    return weights / np.maximum(total, np.float32(1e-6))


def _head_of_scan(
    frame: _Frame, hu: NDArray[np.int16], brain: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Anatomy, tuple[Field, Field, Field]]:
    """The scan as a head to draw into, and the layout coordinates of its voxels."""
    grid = frame.grid
    share = frame.to_grid(brain)
    # Calcification and dense vessels are no holes in the head.
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in share > 0.5])
    inside = ndimage.binary_opening(inside, np.ones((1, 5, 5), bool))
    tissue = frame.to_grid(np.where(brain, np.clip(hu, -50, 150), 30))
    # A little smoothing: what a lesion replaces is tissue, not noise.
    tissue = ndimage.gaussian_filter(tissue, [0.7 / step for step in STEP_MM])
    deep = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=STEP_MM)[1:-1, 1:-1, 1:-1]
    out = ndimage.distance_transform_edt(~inside, sampling=STEP_MM)
    depth = (np.where(inside, deep - 0.5, 0.5 - out)).astype(np.float32)
    scale = (LAYOUT_MM[0] / frame.half_width_mm, *(LAYOUT_MM[1] / frame.half_length_mm,) * 2)
    axes = (grid.x_mm[None, None, :], grid.y_mm[None, :, None], grid.z_mm[:, None, None])
    x, y, z = (
        np.ascontiguousarray(np.broadcast_to(axis * np.float32(factor), grid.shape))
        for axis, factor in zip(axes, scale, strict=True)
    )
    csf = smoothstep(tissue, 24, 14) * inside
    ventricle = csf * _ventricles(csf > 0.5, depth, x, z)
    head = Anatomy(grid, random_shape(rng), tissue.copy(), x, y, z, depth, depth, ventricle, csf * (ventricle == 0))
    return head, (x, y, z)


def _ventricles(csf: NDArray[np.bool_], depth_mm: Field, x: Field, z: Field) -> NDArray[np.bool_]:
    """Connected CSF that reaches deep below the vault near the midline."""
    core = csf & (depth_mm > VENTRICLE_DEPTH_MM) & (np.abs(x) < 36) & (z > -22)
    numbered, count = ndimage.label(core)
    if count == 0:
        return core
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    large: NDArray[np.bool_] = (sizes > 150)[numbered]
    return ndimage.binary_dilation(large) & (depth_mm > VENTRICLE_DEPTH_MM - 4)


def _labels(frame: _Frame, shares: Shares, allowed: NDArray[np.bool_]) -> NDArray[np.uint8]:
    labels = np.zeros(allowed.shape, np.uint8)
    best, total = np.zeros(allowed.shape, np.float32), np.zeros(allowed.shape, np.float32)
    for label, share in shares.items():
        filled = frame.to_slices(share)
        total += filled
        labels[filled > best] = label
        np.maximum(best, filled, out=best)
    labels[(total < LABEL_SHARE) | ~allowed] = 0
    return labels
