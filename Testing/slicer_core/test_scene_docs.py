"""The page about scenes does what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_run import five_lesions, prepared_run
from mrml_nodes import new_scene, segmentation_node, volume_node
from scene_runs import write_maps
from synthetic_head import head_hu

from HemoCAMLib.ct import head_ct_from_array
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.result import Result

pytestmark = pytest.mark.slicer_core

PAGE = Path(__file__).resolve().parents[2] / "docs" / "slicer-scene.md"
MATRIX = np.array([[-3.4, 0, 0, 100.3], [0, -3.4, 0, 107.1], [0, 0, 5, 20], [0, 0, 0, 1.0]])


def test_the_snippets_of_the_page_run_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hu = head_hu(slices=9)
    labels = five_lesions(hu.shape)
    scene = new_scene()

    def slice_events() -> Iterator[list[dict[str, Any]]]:
        # What the worker does meanwhile.
        run = RunFolder(tmp_path / "run")
        result = prepared_run(run, head_ct_from_array(hu, MATRIX), labels)
        write_maps(run, labels)
        run.raw_labels_path.write_bytes(labels.tobytes())
        yield from (result.slices[first : first + 4] for first in range(0, 9, 4))

    names = {
        "volume_node": volume_node(scene, hu, MATRIX),
        "file_of_uid": None,
        "run_folder": tmp_path / "run",
        "run_shape": hu.shape,
        "slice_events": slice_events,
        "truth_node": segmentation_node(scene, {"blood": labels == 1}, MATRIX),
    }
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 6
    for snippet in snippets:
        exec(compile(snippet, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    result = Result.load(tmp_path / "run")
    assert f"{result.volume_ml['total']} mL" in said
    assert f"complete {tmp_path / 'run'}" in said
    assert names["agreement"]["IPH"].dice == 1
    assert names["agreement"]["any"].dice < 1
