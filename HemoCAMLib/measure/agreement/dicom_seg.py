"""DICOM Segmentation objects as label sources (PS3.3 A.51, C.8.20), at the true position of every frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from HemoCAMLib.ct.geometry import ASSUMED_THICKNESS_MM, SliceGeometry, Vector
from HemoCAMLib.ct.orientation import StoredGrid, canonical_geometry, reorientation_of
from HemoCAMLib.ct.volume_header import not_readable
from HemoCAMLib.measure.agreement.label_file import LabelSource
from HemoCAMLib.measure.agreement.mapping import SourceSegment

#: Segmentation Storage and Label Map Segmentation Storage (PS3.4 B.5).
SEGMENTATION_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})

#: Frames whose planes lie closer than this are of one slice.
_SAME_PLANE_MM = 0.01
#: A step longer than the nominal one by this factor spans slices that were left out because they are empty.
_LEFT_OUT = 1.5


def is_dicom_seg(path: Path) -> bool:
    """Whether a file is a DICOM Segmentation."""
    try:
        header = pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True, force=False)
    except Exception:  # pydicom raises many kinds on what is not DICOM
        return False
    return str(header.get("SOPClassUID", "")) in SEGMENTATION_CLASSES


def read_dicom_seg(path: Path) -> LabelSource:
    """The segments of a DICOM SEG: binary, fractional (half and more counts) or label map.

    Empty slices are usually left out of such a file. Their neighbours keep the slice spacing that the file states.

    Raises:
        InputRefused: ``CT_UNREADABLE``, ``CT_ORIENTATION``.
    """
    try:
        dataset = pydicom.dcmread(path)
        frames = np.atleast_3d(dataset.pixel_array)
        if frames.ndim == 3 and int(dataset.get("NumberOfFrames", 1)) == 1:
            frames = dataset.pixel_array.reshape(1, int(dataset.Rows), int(dataset.Columns))
        return _Reader(dataset, frames).source()
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise not_readable(f"DICOM Segmentation: {type(error).__name__}") from error


class _Reader:
    def __init__(self, dataset: Dataset, frames: NDArray[Any]) -> None:
        self._dataset = dataset
        self._frames = frames
        self._shared = dataset.SharedFunctionalGroupsSequence[0]
        self._per_frame = dataset.PerFrameFunctionalGroupsSequence
        self._type = str(dataset.SegmentationType)

    def source(self) -> LabelSource:
        positions = np.array(
            [self._group(n, "PlanePosition").ImagePositionPatient for n in range(len(self._per_frame))]
        )
        cosines = [np.array(self._group(n, "PlaneOrientation").ImageOrientationPatient, float) for n in (0, -1)]
        if np.abs(cosines[0] - cosines[1]).max() > 1e-4:
            raise not_readable("frames of different orientation")
        measures = self._group(0, "PixelMeasures")
        normal = np.cross(cosines[0][:3], cosines[0][3:])
        planes, slice_positions = _planes(positions.astype(float), normal)
        nominal_mm = float(measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0) or None
        grid = _grid(slice_positions, cosines[0], measures, normal, nominal_mm, self._frames.shape[1:])
        turn = reorientation_of(grid)
        geometry, _ = canonical_geometry(grid, turn, nominal_mm)
        segments = self._segments()
        stored = self._layers(planes, len(slice_positions), segments)
        layers = np.stack([np.transpose(np.flip(layer, turn.flips), turn.order) for layer in stored])
        notes = ("Fractional segments were cut at one half.",) if self._type == "FRACTIONAL" else ()
        return LabelSource(
            "dicom-seg", layers, geometry, segments, True, _extents_mm(geometry, nominal_mm), tuple(notes)
        )

    def _group(self, frame: int, name: str) -> Dataset:
        """A functional group's item, of the frame itself or shared by all (PS3.3 C.7.6.16)."""
        keyword = f"{name}Sequence"
        own = self._per_frame[frame]
        group: Dataset = (own if keyword in own else self._shared)[keyword].value[0]
        return group

    def _segments(self) -> tuple[SourceSegment, ...]:
        segments = []
        for index, item in enumerate(self._dataset.SegmentSequence):
            number = int(item.SegmentNumber)
            name = str(item.get("SegmentLabel", "") or number)
            region = item.get("AnatomicRegionSequence")
            code = str(region[0].CodeValue) if region and str(region[0].CodingSchemeDesignator) == "SCT" else ""
            if self._type == "LABELMAP":
                # Segment 0 of a label map is its background.
                if number > 0:
                    segments.append(SourceSegment(name, number, 0, code))
            else:
                segments.append(SourceSegment(name, 1, index, code))
        return tuple(segments)

    def _layers(self, planes: NDArray[np.int64], count: int, segments: tuple[SourceSegment, ...]) -> NDArray[Any]:
        rows, columns = self._frames.shape[1:]
        if self._type == "LABELMAP":
            whole = np.zeros((1, count, rows, columns), self._frames.dtype)
            whole[0, planes] = self._frames
            return whole
        numbers = {int(item.SegmentNumber): index for index, item in enumerate(self._dataset.SegmentSequence)}
        half = float(self._dataset.MaximumFractionalValue) / 2 if self._type == "FRACTIONAL" else 0.5
        layers = np.zeros((len(segments), count, rows, columns), np.uint8)
        for frame, plane in enumerate(planes):
            number = int(self._group(frame, "SegmentIdentification").ReferencedSegmentNumber)
            layers[numbers[number], plane] |= self._frames[frame] >= half
        return layers


def _planes(positions_mm: Vector, normal: Vector) -> tuple[NDArray[np.int64], Vector]:
    """[frame] slice of each frame, and [slice, 3] positions in rising order along the normal."""
    offsets = positions_mm @ normal
    order = np.argsort(offsets, kind="stable")
    new = np.concatenate([[True], np.diff(offsets[order]) > _SAME_PLANE_MM])
    planes = np.empty(len(offsets), np.int64)
    planes[order] = np.cumsum(new) - 1
    return planes, positions_mm[order][new]


def _grid(
    positions_mm: Vector,
    cosines: Vector,
    measures: Dataset,
    normal: Vector,
    nominal_mm: float | None,
    shape: tuple[int, ...],
) -> StoredGrid:
    row_mm, column_mm = (float(value) for value in measures.PixelSpacing)
    if len(positions_mm) > 1:
        step = (positions_mm[-1] - positions_mm[0]) / (len(positions_mm) - 1)
    else:
        step = normal * (nominal_mm or ASSUMED_THICKNESS_MM)
    return StoredGrid(
        (len(positions_mm), int(shape[0]), int(shape[1])),
        positions_mm,
        step,
        cosines[3:] * row_mm,
        cosines[:3] * column_mm,
    )


def _extents_mm(geometry: SliceGeometry, nominal_mm: float | None) -> Vector:
    """[slice] extents; a gap left by empty slices counts as the nominal spacing."""
    if nominal_mm is None or geometry.slice_count == 1:
        return geometry.extents_mm
    steps = np.diff(geometry.offsets_mm)
    steps = np.where(steps > _LEFT_OUT * nominal_mm, nominal_mm, steps)
    half = steps / 2
    extents: Vector = np.concatenate([half[:1], half]) + np.concatenate([half, half[-1:]])
    return extents
