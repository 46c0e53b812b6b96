"""A finished run of the phantom for places without torch: maps from its truth, everything after them by the engine."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.ct import head_ct_from_array
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.model import find_model
from HemoCAMLib.panel.sample_data import add_phantom
from HemoCAMLib.resources import resource_folder
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.map_settings import LOCAL_LOGIT
from HemoCAMLib.run.record import ClassOrder, result_record
from HemoCAMLib.run.reporter import Reporter
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.slice_desk import SliceDesk
from HemoCAMLib.run.state import RunState, scan_fingerprint
from HemoCAMLib.sample.recipe import SampleRecipe
from HemoCAMLib.scene import analysis_input
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

#: Pixels of the image a pixel of the map.
_STEP = 8


@functools.cache
def _phantom() -> tuple[SampleRecipe, NDArray[np.int16]]:
    recipe = SampleRecipe.load(resource_folder("sample"))
    return recipe, recipe.noisy_hu()


def phantom_in_scene() -> tuple[Node, Node]:
    """The phantom and its truth, as the Sample Data module shows them; its noise is drawn once for all tests."""
    return add_phantom(*_phantom())


def write_phantom_run(folder: str | Path, volume_node: Node) -> Result:
    """Writes the run folder that an analysis of the phantom with a perfect but coarse network would leave.

    Args:
        folder: of the run.
        volume_node: the phantom, as :func:`~HemoCAMLib.panel.sample_data.load_phantom` gives it.
    """
    run: RunFolder = analysis_input(volume_node).prepare(folder)
    job = run.read_job()
    ct = head_ct_from_array(np.load(run.input_array_path, allow_pickle=False), np.array(job.ijk_to_ras))
    bundle = find_model("")
    settings = MaskSettings.from_metadata(bundle.metadata.hemocam_fields())
    truth = _phantom()[0].labels
    desk = SliceDesk(run, ct, ClassOrder(CLASS_NAMES), settings, Reporter(lambda event: None))
    try:
        quality = desk.assess(bundle.metadata.training_range)
        maps = np.stack([_maps(plane) for plane in truth])
        desk.take(0, _probabilities(truth), maps)
        slices, measurements, _ = desk.finish()
        RunState(scan_fingerprint(ct), bundle.metadata.weights_sha256).save(run)
        compute = {"device": "cpu", "precision": "float32", "batch_size": 4, "backend": "torch"}
        layers = {"method": LOCAL_LOGIT, "layers": [bundle.metadata.map_layer], "explained_above": None}
        found = quality.result()
        fields = result_record(ct, bundle, settings, layers, compute, slices, measurements, found, desk.midline)
        run.write_json(run.result_path, {**fields, "timing_s": {}})
    finally:
        desk.close()
    run.remove_scratch()
    return Result.load(run.path)


def _maps(labels: NDArray[np.uint8]) -> NDArray[np.float16]:
    """[class, h, w] local logits of a slice: 4 where most of a cell is the subtype, -4 elsewhere."""
    rows, columns = (size // _STEP for size in labels.shape)
    cells = labels.reshape(rows, _STEP, columns, _STEP)
    shares = [(cells == subtype.label).mean(axis=(1, 3)) for subtype in SUBTYPES]
    maps = np.where(np.stack([np.max(shares, axis=0), *shares]) > 0.3, 4, -4)
    return maps.astype(np.float16)


def _probabilities(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[slice, class]: 0.95 where the slice has the subtype, 0.02 elsewhere."""
    held: list[NDArray[Any]] = [(labels == subtype.label).any(axis=(1, 2)) for subtype in SUBTYPES]
    return np.where(np.stack([np.any(held, axis=0), *held], axis=1), 0.95, 0.02).astype(np.float32)
