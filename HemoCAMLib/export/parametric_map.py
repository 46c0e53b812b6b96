"""Activation maps as DICOM Parametric Map objects (PS3.3 A.75), at the network's own map size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from HemoCAMLib.ct import SliceGeometry
from HemoCAMLib.export.codes import CLASS_ACTIVATION, HEAD, NO_UNITS, PRIVATE_SCHEME, PROBABILITY, private_scheme
from HemoCAMLib.export.headers import fresh_uid
from HemoCAMLib.export.origin import RESEARCH_USE, Origin, short_text
from HemoCAMLib.export.source import SourceSeries
from HemoCAMLib.subtypes import Subtype

if TYPE_CHECKING:
    from highdicom.pm import ParametricMap

SERIES_NUMBER = 7003

#: The method whose maps are logits of a place, so that their sigmoid is its probability.
LOCAL_LOGIT = "local-logit"


def map_geometry(geometry: SliceGeometry, image_shape: tuple[int, int], map_shape: tuple[int, int]) -> SliceGeometry:
    """Where the pixels of activation maps lie: the map covers the whole image, whatever the shapes of both.

    The image is resized as a whole to the network's input, so the corner of the image is the corner of the map, and
    the centre of the map's first pixel lies half a map pixel away from it.

    Args:
        geometry: of the scan's slices.
        image_shape: (rows, columns) of a slice.
        map_shape: (rows, columns) of a map.

    >>> positions, x, y = np.zeros((1, 3)), np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    >>> scan = SliceGeometry(positions, x, y, (0.5, 0.5))
    >>> coarse = map_geometry(scan, (512, 512), (64, 64))
    >>> coarse.pixel_spacing_mm, coarse.positions_mm.tolist()
    ((4.0, 4.0), [[1.75, 1.75, 0.0]])
    """
    row_mm, column_mm = geometry.pixel_spacing_mm
    map_row_mm = row_mm * image_shape[0] / map_shape[0]
    map_column_mm = column_mm * image_shape[1] / map_shape[1]
    shift = (map_row_mm - row_mm) / 2 * geometry.column_direction + (map_column_mm - column_mm) / 2 * (
        geometry.row_direction
    )
    return SliceGeometry(
        geometry.positions_mm + shift,
        geometry.row_direction,
        geometry.column_direction,
        (map_row_mm, map_column_mm),
        geometry.slice_thickness_mm,
    )


def build_map(
    source: SourceSeries,
    subtype: Subtype,
    activation: NDArray[np.floating],
    origin: Origin,
    series_uid: str,
    instance_number: int,
) -> ParametricMap:
    """One subtype's activation map of a whole scan, as 32-bit floats.

    Local logits are given as the probability of the place, 0 to 1 (their sigmoid); maps of other methods as they
    are, in arbitrary units.

    Args:
        source: the original series.
        subtype: whose map it is.
        activation: [slice, rows, columns] at the network's map size, in the order of the scan's slices.
        origin: the algorithm.
        series_uid: the series that the maps of all subtypes share.
        instance_number: of this one, from 1.
    """
    from highdicom import (
        PixelMeasuresSequence,
        PlaneOrientationSequence,
        PlanePositionSequence,
        VOILUTTransformation,
    )
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    values, quantity = _values(activation, origin.map_method)
    lowest, highest = (0.0, 1.0) if quantity == PROBABILITY else (float(values.min()), float(values.max()))
    geometry = map_geometry(source.ct.geometry, source.ct.shape[1:], (values.shape[1], values.shape[2]))
    mapping = RealWorldValueMapping(
        lut_label=short_text(subtype.name),
        lut_explanation=f"{subtype.title}: local {quantity.meaning.lower()}",
        unit=NO_UNITS,
        value_range=(lowest, highest),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity,
    )
    schemes = [private_scheme()] if quantity.scheme_designator == PRIVATE_SCHEME else None
    width = highest - lowest
    parametric_map = ParametricMap(
        source_images=source.headers,
        pixel_array=values,
        series_instance_uid=series_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=fresh_uid(),
        instance_number=instance_number,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            VOILUTTransformation(window_center=(lowest + highest) / 2, window_width=width if width > 0 else 1.0)
        ],
        pixel_measures=PixelMeasuresSequence(
            pixel_spacing=geometry.pixel_spacing_mm,
            slice_thickness=float(np.median(source.ct.geometry.extents_mm)),
        ),
        plane_orientation=PlaneOrientationSequence(
            coordinate_system="PATIENT", image_orientation=[*geometry.row_direction, *geometry.column_direction]
        ),
        plane_positions=[
            PlanePositionSequence(coordinate_system="PATIENT", image_position=position)
            for position in geometry.positions_mm
        ],
        content_label=f"MAP_{subtype.name}",
        content_description=f"Activation map of {subtype.name}. {RESEARCH_USE}",
        content_qualification="RESEARCH",
        series_description=f"HemoCAM activation maps. {RESEARCH_USE}",
        specific_character_set="ISO_IR 192",
        coding_schemes=schemes,
        **origin.equipment(),
    )
    _describe_anatomy(parametric_map)
    return parametric_map


def _describe_anatomy(parametric_map: ParametricMap) -> None:
    """The map covers the head, whichever space its subtype lies in (Frame Anatomy macro, PS3.3 C.7.6.16.2.8)."""
    region, anatomy = Dataset(), Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = HEAD.value, "SCT", HEAD.meaning
    anatomy.AnatomicRegionSequence = [region]
    anatomy.FrameLaterality = "U"
    parametric_map.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
    parametric_map.BodyPartExamined = "HEAD"
    # Type 2: a program made the map, no person (PS3.3 table 10-12).
    parametric_map.ContentCreatorName = ""


def _values(activation: NDArray[np.floating], method: str) -> tuple[NDArray[np.float32], Code]:
    """The numbers that are stored, and what quantity they are."""
    values = np.asarray(activation, np.float32)
    if method != LOCAL_LOGIT:
        # Not a number where no map was made, which no viewer would take.
        return np.nan_to_num(values), CLASS_ACTIVATION
    probability: NDArray[np.float32] = (1 / (1 + np.exp(-np.clip(values, -80, 80)))).astype(np.float32)
    return probability, PROBABILITY
