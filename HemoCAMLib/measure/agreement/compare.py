"""Two segmentations of one scan, compared in everything that was asked for."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.mask.boxes import Box, box_iou
from HemoCAMLib.measure.agreement.agreement import (
    EVERYTHING,
    Agreement,
    CompareOptions,
    SliceAgreement,
    StructureAgreement,
    VolumeAgreement,
)
from HemoCAMLib.measure.agreement.detection import detect_slices
from HemoCAMLib.measure.agreement.lesions import compare_lesions, find_lesions
from HemoCAMLib.measure.agreement.overlap import OverlapCounts, common_window, count_overlap, ratio
from HemoCAMLib.measure.agreement.resample import one_step_reading, place_slices, resample_nearest, same_grid
from HemoCAMLib.measure.agreement.segmentation import Segmentation, segmentation_of_labels
from HemoCAMLib.measure.agreement.structures import STRUCTURES, Members, mask_of
from HemoCAMLib.measure.agreement.surface import (
    Surface,
    SurfaceAgreement,
    SurfacePair,
    nearest_in_slice,
    summarize,
    surface_of,
)
from HemoCAMLib.subtypes import ANY, SUBTYPE_NAMES

Window = tuple[slice, slice, slice]


def compare_label_maps(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    geometry: SliceGeometry,
    *,
    truth_subtypes: Collection[str] = SUBTYPE_NAMES,
    probabilities: Mapping[str, ArrayLike] | None = None,
    options: CompareOptions = EVERYTHING,
) -> Agreement:
    """Compares two label maps on one grid.

    Args:
        prediction: [slice, row, column] integers, 0 none, 1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH.
        truth: the same shape and values.
        geometry: true positions of the slices, for every mm and mL.
        truth_subtypes: subtypes that the truth tells apart; ``()`` for a binary truth, of which any value but 0 is
            hemorrhage: then only ``any`` is compared.
        probabilities: of the classifier by structure name (``any``, ``IPH`` ...), one a slice; for AUROC.
        options: what to compute; :data:`~HemoCAMLib.measure.agreement.agreement.OVERLAP_ONLY` is the fast part.

    Raises:
        UsageError: an array is no label map of this scan (``USAGE_LABELS``).

    >>> geometry = SliceGeometry(np.array([[0.0, 0, 0], [0, 0, 5]]), np.eye(3)[0], np.eye(3)[1], (1.0, 1.0))
    >>> truth = np.zeros((2, 8, 8), np.uint8)
    >>> truth[0, 2:6, 2:6] = 1
    >>> prediction = np.roll(truth, 1, axis=2)
    >>> agreement = compare_label_maps(prediction, truth, geometry)
    >>> agreement["IPH"].dice, agreement["IPH"].surface.hausdorff_mm, agreement["EDH"].dice
    (0.75, 1.0, None)
    """
    predicted = segmentation_of_labels(prediction, geometry)
    true = segmentation_of_labels(truth, geometry, subtypes=truth_subtypes)
    return _compare(predicted, true.members, true, _arrays(probabilities), options, "same", ())


def compare_segmentations(
    prediction: Segmentation, truth: Segmentation, options: CompareOptions = EVERYTHING
) -> Agreement:
    """Compares two segmentations wherever they come from; the truth is resampled where its grid is another.

    Raises:
        InputRefused: the two do not overlap in space (``TRUTH_NO_OVERLAP``).
    """
    members, grid, notes = _on_grid_of(prediction, truth)
    return _compare(prediction, members, truth, prediction.probability, options, grid, notes)


def truth_on_grid(prediction: Segmentation, truth: Segmentation) -> Members:
    """The truth's voxels where the prediction's are, [slice, row, column], just as a comparison takes them.

    Raises:
        InputRefused: ``TRUTH_NO_OVERLAP``, the two do not overlap in space.
    """
    return _on_grid_of(prediction, truth)[0]


def _arrays(probabilities: Mapping[str, ArrayLike] | None) -> dict[str, NDArray[np.float64]]:
    return {name: np.asarray(values, np.float64) for name, values in (probabilities or {}).items()}


def _on_grid_of(prediction: Segmentation, truth: Segmentation) -> tuple[Members, str, tuple[str, ...]]:
    """The truth's voxels on the prediction's grid, how they got there, and what to say about it."""
    shape, truth_shape = prediction.members.shape, truth.members.shape
    for geometry in (prediction.geometry, prediction.file_geometry):
        if geometry is not None and same_grid(geometry, truth.geometry, shape, truth_shape):
            return truth.members, "same", ()
    if truth.members.size == 1 and not truth.members.any():
        # How Slicer writes a segmentation without a voxel: its place means nothing.
        return np.zeros(shape, np.uint8), "same", ("The truth is an empty segmentation.",)
    if one_step_reading(prediction.geometry, truth.geometry, shape, truth_shape):
        note = (
            "The truth's file has one step for all slices, the scan's slices are tilted or uneven: "
            "compared voxel for voxel at the scan's true positions."
        )
        return truth.members, "same", (note,)
    placed = place_slices(truth, prediction.geometry, shape) if truth.extents_mm is not None else None
    if placed is not None:
        return placed, "same", ()
    resampled = resample_nearest(truth, prediction.geometry, (shape[0], shape[1], shape[2]))
    if resampled.covered == 0 or (truth.members.any() and not resampled.members.any()):
        raise InputRefused(
            "TRUTH_NO_OVERLAP",
            "The truth lies elsewhere in space than the scan; they have no place in common.",
            "Check that both are of the same scan and that neither was moved or registered.",
        )
    note = "The truth has another grid than the scan: it was resampled to the scan's voxels, nearest neighbour."
    notes = [note]
    if resampled.covered < 0.999 and truth.extents_mm is None:
        notes.append(f"The truth covers {100 * resampled.covered:.0f} % of the scan; the rest counts as no hemorrhage.")
    return resampled.members, "resampled", tuple(notes)


def _compare(
    prediction: Segmentation,
    truth: Members,
    truth_source: Segmentation,
    probabilities: Mapping[str, NDArray[np.float64]],
    options: CompareOptions,
    grid: str,
    notes: tuple[str, ...],
) -> Agreement:
    subtypes = [name for name in SUBTYPE_NAMES if name in prediction.subtypes and name in truth_source.subtypes]
    window = common_window(prediction.members, truth)
    counts = count_overlap(prediction.members, truth, window)
    own_ml = _own_volumes_ml(truth, truth_source, counts)
    comparison = _Comparison(prediction, truth, window, counts, options)
    names = (ANY, *subtypes)
    with ThreadPoolExecutor(max_workers=min(len(names), os.cpu_count() or 1)) as pool:
        # The searches and most of numpy let other threads run.
        found = list(pool.map(lambda name: comparison.structure(name, own_ml[name], probabilities.get(name)), names))
    return Agreement(
        structures=dict(zip(names, found, strict=True)),
        options=options,
        grid=grid,
        notes=(*notes, *prediction.notes, *truth_source.notes, *_subtype_notes(prediction, truth_source)),
        prediction_kind=prediction.kind,
        truth_kind=truth_source.kind,
        mapping=truth_source.mapping,
    )


def _own_volumes_ml(truth: Members, source: Segmentation, counts: OverlapCounts) -> dict[str, float]:
    """Volumes of the truth on its own grid; where its voxels were not moved they have been counted already."""
    if truth is not source.members:
        return source.volume_ml
    slice_ml = source.slice_extents_mm * source.geometry.pixel_area_mm2 / 1000
    return {name: float(slice_ml @ counts.truth[:, column]) for column, name in enumerate(STRUCTURES)}


def _subtype_notes(prediction: Segmentation, truth: Segmentation) -> list[str]:
    notes = []
    for who, source in (("truth", truth), ("prediction", prediction)):
        missing = [name for name in SUBTYPE_NAMES if name not in source.subtypes]
        if len(missing) == len(SUBTYPE_NAMES):
            notes.append(f"The {who} does not tell subtypes apart, so only hemorrhage of any kind is compared.")
        elif missing:
            notes.append(f"The {who} does not tell {', '.join(missing)}; these are not compared by themselves.")
    return notes


class _Comparison:
    """One pair on one grid; every structure is looked at within its own window."""

    def __init__(
        self,
        prediction: Segmentation,
        truth: Members,
        window: Window,
        counts: OverlapCounts,
        options: CompareOptions,
    ) -> None:
        self._geometry = prediction.geometry
        self._extents_mm = prediction.slice_extents_mm
        self._pair = (prediction.members[window], truth[window])
        self._corner = (window[0].start, window[1].start, window[2].start)
        self._counts = counts
        self._options = options

    def structure(self, name: str, own_ml: float, probability: NDArray[np.float64] | None) -> StructureAgreement:
        column = STRUCTURES.index(name)
        both, predicted, true = (
            counts[:, column] for counts in (self._counts.both, self._counts.prediction, self._counts.truth)
        )
        slice_ml = self._extents_mm * self._geometry.pixel_area_mm2 / 1000
        prediction_ml, truth_ml = float(slice_ml @ predicted), float(slice_ml @ true)
        surface, lesions = None, None
        slices: tuple[SliceAgreement, ...] = ()
        if self._options.surfaces or self._options.lesions or self._options.slices:
            masks, corner = self._masks(name)
            pair = SurfacePair.of(*self._surfaces(masks, corner)) if self._options.surfaces else None
            surface = None if pair is None else pair.agreement()
            if self._options.lesions:
                found = [find_lesions(mask, slice_ml, corner) for mask in masks]
                lesions = compare_lesions(found[0], found[1], pair, corner, self._options.lesion_minimum_iou)
            if self._options.slices:
                slices = self._slices(column, masks, corner, probability)
        return StructureAgreement(
            overlap=self._counts.whole(column),
            volume_dice=ratio(2 * float(slice_ml @ both), prediction_ml + truth_ml),
            volume=VolumeAgreement(prediction_ml, truth_ml, own_ml),
            detection=detect_slices(predicted > 0, true > 0, probability),
            surface=surface,
            lesions=lesions,
            slices=slices,
        )

    def _masks(self, name: str) -> tuple[list[NDArray[np.bool_]], tuple[int, int, int]]:
        """Both masks within a window that holds them, and the index of its first voxel."""
        masks = [mask_of(members, name) for members in self._pair]
        window = common_window(*(mask.view(np.uint8) for mask in masks))
        corner = tuple(first + side.start for first, side in zip(self._corner, window, strict=True))
        return [mask[window] for mask in masks], (corner[0], corner[1], corner[2])

    def _surfaces(
        self, masks: list[NDArray[np.bool_]], corner: tuple[int, int, int], *, in_plane: bool = False
    ) -> tuple[Surface, Surface]:
        first, second = (surface_of(mask, self._geometry, corner=corner, in_plane=in_plane) for mask in masks)
        return first, second

    def _by_slice(self, prediction: Surface, truth: Surface) -> list[SurfaceAgreement | None]:
        """[slice] distances between the outlines of each slice, all searched at once."""
        forth = nearest_in_slice(prediction, truth, self._geometry).distance_mm
        back = nearest_in_slice(truth, prediction, self._geometry).distance_mm
        edges = np.arange(self._geometry.slice_count + 1)
        first = np.searchsorted(prediction.indices[:, 0], edges)
        second = np.searchsorted(truth.indices[:, 0], edges)
        return [
            summarize(forth[first[n] : first[n + 1]], back[second[n] : second[n + 1]])
            for n in range(self._geometry.slice_count)
        ]

    def _slices(
        self,
        column: int,
        masks: list[NDArray[np.bool_]],
        corner: tuple[int, int, int],
        probability: NDArray[np.float64] | None,
    ) -> tuple[SliceAgreement, ...]:
        outlines = self._surfaces(masks, corner, in_plane=True) if self._options.surfaces else None
        distances = [None] * self._geometry.slice_count if outlines is None else self._by_slice(*outlines)
        rows = []
        for index in range(self._geometry.slice_count):
            overlap = self._counts.of_slice(index, column)
            inside = corner[0] <= index < corner[0] + len(masks[0])
            planes = [mask[index - corner[0]] for mask in masks] if inside else []
            rows.append(
                SliceAgreement(
                    index=index,
                    overlap=overlap,
                    prediction_mm2=(overlap.true_positive + overlap.false_positive) * self._geometry.pixel_area_mm2,
                    truth_mm2=(overlap.true_positive + overlap.false_negative) * self._geometry.pixel_area_mm2,
                    box_iou=_box_iou(planes),
                    surface=distances[index],
                    probability=None if probability is None else float(probability[index]),
                )
            )
        return tuple(rows)


def _box_iou(planes: list[NDArray[np.bool_]]) -> float | None:
    """IoU of the boxes around all of each mask; 0 where one is empty, None where both are."""
    boxes = [_box(plane) for plane in planes]
    found = [box for box in boxes if box is not None]
    if not found:
        return None
    return box_iou(found[0], found[1]) if len(found) == 2 else 0.0


def _box(plane: NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not rows.size:
        return None
    return Box((int(rows[0]), int(columns[0])), (int(rows[-1]) + 1, int(columns[-1]) + 1))
