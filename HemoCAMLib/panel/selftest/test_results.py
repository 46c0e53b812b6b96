"""A finished run opened, moved to other thresholds, compared, saved and reopened: all without torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from HemoCAMLib.panel.selftest.application_case import ApplicationCase
from HemoCAMLib.panel.selftest.phantom_run import phantom_in_scene, write_phantom_run
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: Beginnings of the names of classes of a result's nodes, and of their display and storage nodes.
KINDS = ("Segmentation", "Table", "Plot", "Text", "ScalarVolume", "VolumeArchetype")


class ResultsTest(ApplicationCase):
    volume: Any
    truth: Any

    def setUp(self) -> None:
        super().setUp()
        self.volume, self.truth = phantom_in_scene()
        self.run_ = write_phantom_run(self.folder / "run", self.volume)

    def opened(self) -> Any:
        return self.logic().openRun(self.folder / "run", self.volume)

    def test_a_run_is_opened_with_its_nodes_and_its_numbers(self) -> None:
        result = self.opened()
        self.assertEqual(result.volume_ml, self.run_.volume_ml)
        self.assertEqual(result.found, ["IPH", "IVH", "SAH"])
        self.assertEqual(set(result.heat_maps), set(result.found))
        rows = result.volume_table.GetTable()
        self.assertEqual(rows.GetNumberOfRows(), len(SUBTYPE_NAMES) + 1)
        self.assertAlmostEqual(rows.GetValueByName(len(SUBTYPE_NAMES), "Volume").ToDouble(), result.total_ml, 3)
        counted = sum(
            int(np.count_nonzero(slicer.util.arrayFromSegmentBinaryLabelmap(result.segmentation, name, self.volume)))
            for name in result.found
        )
        voxel_ml = abs(np.linalg.det(_directions(self.volume))) / 1000
        self.assertAlmostEqual(counted * voxel_ml, result.total_ml, delta=0.02 * result.total_ml)

    def test_a_run_brings_its_scan_where_the_scene_has_none(self) -> None:
        shown = slicer.util.arrayFromVolume(self.volume).copy()
        slicer.mrmlScene.Clear()
        result = self.logic().openRun(self.folder / "run")
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(result.volume), shown)
        self.assertEqual(result.volume_ml, self.run_.volume_ml)

    def test_deleting_the_folder_undoes_a_result(self) -> None:
        before = nodes_of_scene()
        result = self.opened()
        self.assertGreater(len(nodes_of_scene()), len(before))
        result.remove()
        self.assertEqual(nodes_of_scene(), before)
        self.assertEqual(self.logic().results(), [])

    def test_thresholds_act_and_can_be_taken_back(self) -> None:
        result, logic = self.opened(), self.logic()
        before, table = dict(result.volume_ml), result.volume_table
        logic.applyThresholds(result, {"SAH": 0.99})
        self.assertEqual(result.volume_ml["SAH"], 0.0)
        self.assert_same_volume(result.volume_ml["IPH"], before["IPH"])
        self.assertEqual(result.settings["mask"]["class_thresholds"]["SAH"], 0.99)
        self.assertEqual(table.GetTable().GetValueByName(2, "Volume").ToDouble(), 0.0)
        logic.applyThresholds(result)
        self.assert_same_volumes(result.volume_ml, before)

    def test_a_comparison_with_the_truth_gives_figures_tables_and_an_overlap(self) -> None:
        result, logic = self.opened(), self.logic()
        compared = logic.compare(result, self.truth)
        self.assertGreater(compared.agreement["any"].dice, 0.6)
        self.assertEqual(compared.table.GetTable().GetValueByName(0, "Hemorrhage").ToString(), "any")
        self.assertGreater(compared.overlap.GetSegmentation().GetNumberOfSegments(), 2)
        nodes = nodes_of_scene()
        again = logic.compare(result, self.truth)
        self.assertEqual(again.agreement["any"].dice, compared.agreement["any"].dice)
        self.assertEqual(nodes_of_scene(), nodes)

    def test_a_scene_that_was_saved_brings_everything_back(self) -> None:
        result = self.opened()
        self.logic().applyThresholds(result, {"SAH": 0.99})
        numbers, path = dict(result.volume_ml), self.folder / "scene.mrb"
        self.assertTrue(slicer.util.saveScene(str(path)))
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(str(path))
        (again,) = self.logic().results()
        self.assertEqual(again.volume_ml, numbers)
        self.assertEqual(again.run_folder.resolve(), (self.folder / "run").resolve())
        self.logic().applyThresholds(again)
        self.assert_same_volumes(again.volume_ml, self.run_.volume_ml)

    def assert_same_volumes(self, found: dict[str, float], expected: dict[str, float]) -> None:
        """The same subtypes with the same volumes."""
        self.assertEqual(found.keys(), expected.keys())
        for name, volume_ml in expected.items():
            self.assert_same_volume(found[name], volume_ml)

    def assert_same_volume(self, found_ml: float, expected_ml: float) -> None:
        """Equal to a ten-thousandth: positions are written with four digits, and masks are measured with them later."""
        self.assertAlmostEqual(found_ml, expected_ml, delta=max(1e-3, 1e-4 * expected_ml))


def nodes_of_scene() -> list[str]:
    """Classes of the nodes of such kinds as a result has; views add others when they like."""
    scene = slicer.mrmlScene
    classes = (str(scene.GetNthNode(index).GetClassName()) for index in range(scene.GetNumberOfNodes()))
    return sorted(name for name in classes if name.removeprefix("vtkMRML").startswith(KINDS) and "View" not in name)


def _directions(volume: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
