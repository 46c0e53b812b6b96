"""The module, its sample data, its words about what is missing, and its worker: none of this needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from HemoCAMLib.errors import UsageError
from HemoCAMLib.panel.dependencies import KEPT, PACKAGES, TORCH, find_missing
from HemoCAMLib.panel.sample_data import CATEGORY, SAMPLE_NAME, load_phantom
from HemoCAMLib.panel.selftest.application_case import ApplicationCase, is_running, why_no_torch
from HemoCAMLib.panel.worker_host import WorkerHost
from HemoCAMLib.subtypes import SUBTYPES


class ModuleTest(ApplicationCase):
    def test_the_module_is_loaded_with_its_panel_help_and_icon(self) -> None:
        module = slicer.modules.hemocam
        self.assertEqual(module.title, "HemoCAM")
        self.assertIn("not a medical device", module.helpText)
        self.assertTrue(any(Path(module.path).parent.joinpath("Resources/Icons").glob("HemoCAM.*")))
        self.assertIsNotNone(slicer.util.getModuleWidget("HemoCAM"))

    def test_the_phantom_is_offered_as_sample_data_and_made_without_network(self) -> None:
        offered = getattr(slicer.modules, "sampleDataSources", None)
        if offered is not None:
            # Registered when the application has started, which may be after a script of its command line.
            self.assertTrue(self.turn_until(lambda: SAMPLE_NAME in _names(offered), 20), _names(offered))
        volume, truth = load_phantom()
        voxels = slicer.util.arrayFromVolume(volume)
        self.assertEqual(voxels.shape[1:], (512, 512))
        self.assertLess(int(voxels.min()), -900)
        segmentation = truth.GetSegmentation()
        held = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        self.assertTrue(held)
        self.assertEqual(held, [subtype.name for subtype in SUBTYPES if subtype.name in held])

    def test_what_is_missing_is_told_in_plain_words(self) -> None:
        missing = find_missing()
        self.assertEqual(bool(missing.sentence), bool(missing))
        self.assertFalse(set(KEPT) & (set(TORCH) | set(PACKAGES)))

    def test_a_worker_starts_listens_and_leaves_nothing_behind(self) -> None:
        host = WorkerHost()
        host.start()
        self.assertTrue(self.turn_until(lambda: host.ready, 60))
        pids = host.pids
        self.assertTrue(all(map(is_running, pids)))
        host.shutdown()
        self.assertTrue(self.turn_until(lambda: not any(map(is_running, pids)), 10))

    def test_without_torch_an_analysis_says_so_and_ends(self) -> None:
        if not why_no_torch():
            self.skipTest("this application has torch")
        volume, _ = load_phantom()
        handle = self.logic().analyze(volume, runFolder=self.folder / "run", wait=False)
        self.assertTrue(self.turn_until(lambda: bool(handle.finished), 120))
        self.assertEqual((handle.state, handle.error.code), ("failed", "WORKER_NO_TORCH"))
        self.assertTrue(handle.error.advice)

    def test_what_is_no_head_is_refused_before_anything_runs(self) -> None:
        volume = slicer.util.addVolumeFromArray(np.zeros((20, 64, 64), np.int16))
        handle = self.logic().analyze(volume, runFolder=self.folder / "run", wait=False)
        self.assertTrue(self.turn_until(lambda: bool(handle.finished), 20))
        self.assertEqual(handle.state, "failed")
        self.assertTrue(handle.error.code.startswith("CT_"), handle.error.code)
        self.assertFalse((self.folder / "run").exists())

    def test_no_volume_is_refused_in_words(self) -> None:
        with self.assertRaises(UsageError) as caught:
            self.logic().analyze(None)
        self.assertEqual(caught.exception.code, "USAGE_VOLUME")


def _names(sources: dict[str, list[Any]]) -> list[str]:
    return [str(source.sampleName) for source in sources.get(CATEGORY, [])]
