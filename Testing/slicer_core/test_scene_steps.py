"""Long work in small steps gives what it gives at once, and can be given up."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import five_lesions
from hypothesis import given, settings
from hypothesis import strategies as st
from mrml_nodes import new_scene, node_ids, slicer, volume_node, voxels
from scene_runs import run_of_input
from scipy import ndimage
from synthetic_head import head_hu

from HemoCAMLib.scene import (
    Placement,
    SceneResult,
    SegmentationWriter,
    VolumeGrid,
    analysis_input,
    analysis_input_steps,
    corrected_steps,
    finish,
    in_background,
    largest_bleed_steps,
    measure,
    measure_steps,
    new_segmentation_node,
    place_of,
)
from HemoCAMLib.scene.bridge import blank_oriented_image

pytestmark = pytest.mark.slicer_core

HU = head_hu(slices=9)
LABELS = five_lesions(HU.shape)
MATRIX = np.array([[-3.4, 0, 0, 100.3], [0, -3.4, 0, 107.1], [0, 0, 5, 20], [0, 0, 0, 1.0]])


def test_a_background_step_gives_the_thread_its_turn_and_its_answer() -> None:
    began = threading.Event()

    def work(number: int) -> int:
        began.set()
        time.sleep(0.05)
        return number + 1

    steps = in_background(work, 6)
    next(steps)
    assert began.is_set()
    assert finish(steps) == 7


def test_what_fails_in_the_background_is_raised_where_the_steps_are_taken() -> None:
    with pytest.raises(ZeroDivisionError):
        finish(in_background(lambda: 1 // 0))


def test_a_blank_label_map_owns_its_memory() -> None:
    def in_a_segment() -> Any:
        image = blank_oriented_image((40, 256, 256), np.eye(4), (0, 0, 0))
        voxels(image)[20] = 7
        segment = slicer.vtkSegment()
        segment.AddRepresentation("Binary labelmap", image)
        return segment

    segment = in_a_segment()
    gc.collect()
    others = [np.full((40, 256, 256), 9, np.uint8) for _ in range(8)]
    found = voxels(segment.GetRepresentation("Binary labelmap"))
    assert others[0][0, 0, 0] == 9
    assert np.unique(found[20]).tolist() == [7]
    assert not found[:20].any()
    assert not found[21:].any()


def test_voxels_are_written_as_numpy_writes_them(tmp_path: Path) -> None:
    node = volume_node(new_scene(), HU, MATRIX)
    chosen = finish(analysis_input_steps(node))
    run = finish(chosen.prepare_steps(tmp_path / "run"))
    np.save(tmp_path / "whole.npy", HU)
    assert run.input_array_path.read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_run_that_is_given_up_while_it_opens_leaves_nothing(tmp_path: Path) -> None:
    node = volume_node(new_scene(), HU, MATRIX)
    chosen = analysis_input(node)
    result = run_of_input(tmp_path / "run", chosen, LABELS)
    before = node_ids(node.GetScene())
    steps = SceneResult.open_run_steps(node, chosen.grid, result)
    for _ in range(4):
        next(steps)
    assert node_ids(node.GetScene()) > before
    steps.close()
    assert {name for name in node_ids(node.GetScene()) - before if "SubjectHierarchy" not in name} == set()
    opened = finish(SceneResult.open_run_steps(node, chosen.grid, result))
    measured = finish(measure_steps(finish(corrected_steps(opened))))
    assert measured.volume_ml == pytest.approx(result.volume_ml, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.3))
def test_the_largest_bleed_is_that_of_scipy(seed: int, share: float) -> None:
    labels = (np.random.default_rng(seed).random((7, 12, 10)) < share).astype(np.uint8) * 3
    node = volume_node(new_scene(), np.zeros(labels.shape, np.int16), MATRIX)
    placement = Placement(VolumeGrid.of_node(node), np.arange(len(labels)))
    found = finish(largest_bleed_steps(labels, node, placement))
    regions, count = ndimage.label(labels > 0, np.ones((3, 3, 3), bool))
    if count == 0:
        assert found is None
        return
    sizes = np.bincount(regions.ravel())[1:]
    voxel = {
        tuple(np.round(place_of(k, row, column, node, placement), 3)): int(regions[k, row, column])
        for k, row, column in np.argwhere(labels > 0).tolist()
    }
    assert found is not None
    assert sizes[voxel[tuple(np.round(found, 3))] - 1] == sizes.max()


def test_overlapping_segments_are_measured_in_steps_as_at_once() -> None:
    node = volume_node(new_scene(), HU, MATRIX)
    shown = new_segmentation_node(node, "s")
    grid = VolumeGrid.of_node(node)
    writer = SegmentationWriter(shown, Placement(grid, np.arange(9)))
    writer.put(0, LABELS)
    writer.update()
    from HemoCAMLib.scene import read_segmentation_node, read_segmentation_node_steps

    at_once = read_segmentation_node(shown, node, Placement(grid, np.arange(9)))
    in_steps = finish(read_segmentation_node_steps(shown, node, Placement(grid, np.arange(9))))
    np.testing.assert_array_equal(at_once.members, in_steps.members)
    at_once.members[2] |= 2
    assert measure(at_once) == finish(measure_steps(at_once))
    assert measure(at_once).components["IVH"] >= 1
