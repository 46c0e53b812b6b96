"""Whole analyses with the real worker and the model that ships; skipped where the application has no torch."""

from __future__ import annotations

from typing import Any

import slicer

from HemoCAMLib.errors import Cancelled
from HemoCAMLib.panel.selftest.application_case import ApplicationCase, why_no_torch
from HemoCAMLib.panel.selftest.phantom_run import phantom_in_scene
from HemoCAMLib.panel.worker_host import application_worker
from HemoCAMLib.run.process_tree import kill_with_children

#: Generous: a busy computer, two cores, a cold start.
LIMIT_S = 300.0


class AnalysisTest(ApplicationCase):
    volume: Any
    truth: Any

    def setUp(self) -> None:
        super().setUp()
        reason = why_no_torch()
        if reason:
            self.skipTest(reason)
        self.volume, self.truth = phantom_in_scene()

    def started(self) -> Any:
        """A handle whose first slices show."""
        handle = self.logic().analyze(self.volume, runFolder=self.folder / "run", wait=False)
        self.assertTrue(self.turn_until(lambda: bool(handle.slices_done or handle.finished), LIMIT_S))
        self.assertEqual(handle.state, "running")
        return handle

    def test_the_phantom_is_analysed_and_agrees_with_its_truth(self) -> None:
        logic = self.logic()
        result = logic.analyze(self.volume, runFolder=self.folder / "run")
        self.assertEqual(result.found, ["IPH", "IVH", "SAH"])
        self.assertGreater(logic.compare(result, self.truth).agreement["any"].dice, 0.6)
        self.assertEqual(result.run.volume_ml, result.volume_ml)

    def test_slices_show_while_it_runs_and_the_event_loop_turns(self) -> None:
        handle = self.logic().analyze(self.volume, runFolder=self.folder / "run", wait=False)
        rows: list[int] = []
        handle.connect("slices", lambda handle: rows.append(handle.shown.slice_table.GetTable().GetNumberOfRows()))
        self.assertTrue(self.turn_until(lambda: bool(handle.finished), LIMIT_S))
        self.assertEqual(handle.state, "done")
        self.assertEqual(rows, sorted(rows))
        self.assertEqual(rows[-1], handle.slice_count)
        self.assertGreater(len(set(rows)), 1)

    def test_cancel_ends_it_keeps_what_is_there_and_it_can_go_on(self) -> None:
        handle = self.started()
        handle.cancel()
        self.assertTrue(self.turn_until(lambda: bool(handle.finished), 60))
        self.assertEqual(handle.state, "cancelled")
        self.assertIsInstance(handle.error, Cancelled)
        self.assertEqual(handle.shown.record.state, "cancelled")
        handle.shown.remove()
        result = self.logic().analyze(self.volume, runFolder=self.folder / "run")
        self.assertEqual(len(result.slices), handle.slice_count)

    def test_closing_the_scene_leaves_no_process_and_no_node(self) -> None:
        handle = self.started()
        self.assertTrue(_names_of_results())
        pids = application_worker().pids
        slicer.mrmlScene.Clear()
        self.assertTrue(self.turn_until(lambda: bool(handle.finished), 10))
        self.assertEqual(handle.state, "cancelled")
        self.assert_gone(pids)
        self.turn_for(0.5)
        self.assertEqual(_names_of_results(), [])

    def test_a_worker_that_is_killed_is_told_in_words_and_the_next_run_starts_another(self) -> None:
        handle = self.started()
        kill_with_children(*application_worker().pids)
        self.assertTrue(self.turn_until(lambda: bool(handle.finished), 30))
        self.assertEqual(handle.state, "failed")
        self.assertIn(handle.error.code, ("WORKER_KILLED", "WORKER_DIED"))
        self.assertEqual(handle.shown.record.state, "failed")
        handle.shown.remove()
        self.assertTrue(self.logic().analyze(self.volume, runFolder=self.folder / "run").found)


def _names_of_results() -> list[str]:
    """Names of nodes that belong to a result."""
    scene = slicer.mrmlScene
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return [node.GetName() for node in nodes if node.GetAttribute("HemoCAM.role")]
