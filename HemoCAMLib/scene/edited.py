"""Numbers of a segmentation that the user has corrected, with the true extents of the run's slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.mask import find_brain
from HemoCAMLib.measure import Measurements, Measurer, MidlinePlane
from HemoCAMLib.measure.agreement import Segmentation
from HemoCAMLib.measure.agreement.structures import BIT, Members, mask_of
from HemoCAMLib.measure.measurements import TOTAL
from HemoCAMLib.scene.read_back import read_segmentation_node_steps
from HemoCAMLib.scene.result_nodes import SLICES_TABLE, VOLUMES_TABLE
from HemoCAMLib.scene.scene_result import SceneResult
from HemoCAMLib.scene.steps import Steps, finish
from HemoCAMLib.scene.tables import write_slice_table, write_volume_table
from HemoCAMLib.subtypes import ANY, SUBTYPES, Subtype


def corrected(result: SceneResult) -> Segmentation:
    """The result's segmentation as it is now, edits included, for measuring and comparing.

    Segments whose names say nothing about hemorrhage are left out, with a note.

    Raises:
        InputRefused: ``PREDICTION_TRANSFORM``, the user moved it apart from the CT in a way that bends it.
    """
    return finish(corrected_steps(result))


def corrected_steps(result: SceneResult) -> Steps[Segmentation]:
    """The same in small steps."""
    record = result.record
    found = yield from read_segmentation_node_steps(
        result.segmentation, result.volume, result.placement, record.geometry, role="prediction", ignore_unknown=True
    )
    probability = {
        name: np.array([entry["probability"][name] for entry in record.result["slices"]])
        for name in (ANY, *(subtype.name for subtype in SUBTYPES))
        if record.result
    }
    return replace(found, probability=probability)


def measure(segmentation: Segmentation, midline: MidlinePlane | None = None) -> Measurements:
    """Volumes, diameters, sides and lesions of a segmentation on the slices of a run.

    Where segments overlap each subtype is measured by itself, and the total and the areas of "any" count every voxel
    once; so do hemorrhages of no subtype, which are part of the total alone.

    Args:
        segmentation: as :func:`corrected` gives it.
        midline: of the run's scan (:func:`midline_of`); None takes the middle of the image.
    """
    return finish(measure_steps(segmentation, midline))


def measure_steps(segmentation: Segmentation, midline: MidlinePlane | None = None) -> Steps[Measurements]:
    """The same in small steps."""
    exclusive = np.zeros(256, bool)
    exclusive[[0, *BIT.values()]] = True
    held, apart = [], True
    for index, plane in enumerate(segmentation.members):
        if plane.any():
            held.append((index, plane))
            apart = apart and bool(exclusive[plane].all())
            yield
    if apart:
        return (yield from _measured_steps(segmentation, held, labels_of_members, midline))
    whole = Measurements.empty(segmentation.geometry.slice_count)
    for subtype in SUBTYPES:
        own = yield from _measured_steps(segmentation, held, partial(_labels_of_one, subtype), midline)
        for field in ("volume_ml", "abc2_ml", "largest_diameter_mm", "side", "components"):
            getattr(whole, field)[subtype.name] = getattr(own, field)[subtype.name]
        for areas, mine in zip(whole.area_mm2, own.area_mm2, strict=True):
            areas[subtype.name] = mine[subtype.name]
    pixel_mm2 = segmentation.geometry.pixel_area_mm2
    for index, plane in held:
        whole.area_mm2[index][ANY] = float(np.count_nonzero(plane)) * pixel_mm2
    any_mm2 = np.array([areas[ANY] for areas in whole.area_mm2])
    whole.volume_ml[TOTAL] = float(segmentation.slice_extents_mm @ any_mm2) / 1000
    return whole


def midline_of(slices_hu: Any, segmentation: Segmentation) -> MidlinePlane | None:
    """The plane that sides are told by, as the analysis finds it; takes about a second, so find it once a scan.

    Args:
        slices_hu: [slice, row, column] int16 in HU, in the run's order.
        segmentation: for the geometry.
    """
    brain = find_brain((slices_hu[index] for index in range(len(slices_hu))), segmentation.geometry)
    return MidlinePlane.from_brain(brain, segmentation.geometry)


def refresh_tables(result: SceneResult, measurements: Measurements) -> bool:
    """Brings both tables to new measurements; probabilities stay those of the network.

    Returns:
        whether the result is still there.
    """
    if not result.is_open:
        return False
    slices = _slices(result.record.result, measurements)
    for table in result.nodes(VOLUMES_TABLE):
        write_volume_table(table, measurements.as_dict(), slices)
    for table in result.nodes(SLICES_TABLE):
        write_slice_table(table, slices)
    return True


def _measured_steps(
    segmentation: Segmentation,
    held: Sequence[tuple[int, Members]],
    labels_of: Callable[[Members], NDArray[np.uint8]],
    midline: MidlinePlane | None,
) -> Steps[Measurements]:
    measurer = Measurer(segmentation.geometry, midline)
    for index, plane in held:
        measurer.add(index, labels_of(plane))
        yield
    return measurer.finish()


def _labels_of_one(subtype: Subtype, plane: Members) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = mask_of(plane, subtype.name).astype(np.uint8) * np.uint8(subtype.label)
    return labels


def labels_of_members(members: Members) -> NDArray[np.uint8]:
    """A label map 0-5 of voxels that say which subtypes they are; the first of the tables where several are."""
    codes = np.arange(256)
    lookup = np.zeros(256, np.uint8)
    for subtype in reversed(SUBTYPES):
        lookup[codes & BIT[subtype.name] > 0] = subtype.label
    labels: NDArray[np.uint8] = lookup[members]
    return labels


def _slices(fields: Mapping[str, Any], measurements: Measurements) -> list[dict[str, Any]]:
    return [
        {**entry, "area_mm2": dict(areas)} for entry, areas in zip(fields["slices"], measurements.area_mm2, strict=True)
    ]
