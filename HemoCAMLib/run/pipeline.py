"""From a job to a complete run folder. Worker side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from HemoCAMLib.ct import HeadCT, head_ct_from_array, read_head_ct
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.model import ModelBundle, find_model
from HemoCAMLib.run.compute import Compute, choose_compute, unchecked_precision
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.map_settings import MapSettings
from HemoCAMLib.run.networks import NetworkCache
from HemoCAMLib.run.protocol import Message
from HemoCAMLib.run.record import input_record
from HemoCAMLib.run.reporter import Reporter
from HemoCAMLib.run.scan_run import ScanRun, stop_if
from HemoCAMLib.run.state import RunState, scan_fingerprint


def run_analysis(
    folder: RunFolder,
    job: AnalyzeJob,
    networks: NetworkCache,
    emit: Callable[[Message], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Carries out the job of a run folder, or goes on where a former process was killed.

    Args:
        folder: run folder with ``job.json``.
        job: what it says.
        networks: networks that are already loaded.
        emit: takes events; the caller adds the final one.
        cancelled: asked before every batch and between stages.

    Raises:
        Cancelled: ``cancelled`` said so; the folder can be resumed.
        HemoCAMError: the input or the model is refused, or the device fails.
    """
    reporter = Reporter(emit)
    folder.result_path.unlink(missing_ok=True)
    with reporter.timed("total"):
        bundle = find_model(job.model)
        if not networks.holds(bundle):
            # A damaged model is better refused before a scan is read than after.
            bundle.verify()
        settings = mask_settings(bundle, job)
        with reporter.timed("read"):
            ct = _read(folder, job, reporter, cancelled)
        reporter.emit({"event": "input", **input_record(ct)})
        with reporter.timed("fingerprint"):
            state = _open_state(folder, job, ct, bundle, settings)
        warning = unchecked_precision(Compute(**state.compute), bundle.metadata)
        if warning:
            reporter.notice("WORKER_PRECISION_UNCHECKED", warning)
        with ScanRun(folder, ct, bundle, settings, MapSettings.from_dict(job.map), state, networks, reporter) as scan:
            scan.analyse(cancelled)
            fields = scan.finish()
    folder.write_json(folder.result_path, {**fields, "timing_s": reporter.timing_s})
    folder.remove_scratch()


def mask_settings(bundle: ModelBundle, job: AnalyzeJob) -> MaskSettings:
    """The bundle's mask settings with the job's changes.

    A change of ``class_thresholds`` or ``mask_thresholds`` may name some subtypes only.

    Raises:
        UsageError: a setting does not exist or is out of range (``USAGE_MASK_SETTINGS``).
    """
    changes = dict(job.mask)
    settings = MaskSettings.from_metadata(
        bundle.metadata.hemocam_fields(),
        scale=changes.pop("scale", None),
        rule=changes.pop("rule", None),
        map_values=MapSettings.from_dict(job.map).values,
    )
    return settings.changed(changes)


def _read(folder: RunFolder, job: AnalyzeJob, reporter: Reporter, cancelled: Callable[[], bool]) -> HeadCT:
    def on_progress(done: int, total: int) -> None:
        stop_if(cancelled)
        reporter.progress("reading", done / total)

    if job.ijk_to_ras is not None:
        array = np.load(folder.input_array_path, mmap_mode="r", allow_pickle=False)
        affine = np.array(job.ijk_to_ras)
        return head_ct_from_array(array, affine, allow_gaps=job.allow_gaps, store=folder.hu_path)
    return read_head_ct(
        job.input,
        series_uid=job.series_uid or None,
        allow_gaps=job.allow_gaps,
        store=folder.hu_path,
        on_progress=on_progress,
    )


def _open_state(
    folder: RunFolder, job: AnalyzeJob, ct: HeadCT, bundle: ModelBundle, settings: MaskSettings
) -> RunState:
    """The state to work under; throws away slices that were analysed under another one."""
    former = RunState.load(folder)
    question = {"map": MapSettings.from_dict(job.map).as_dict(), "mask": settings.as_dict()}
    if bundle.metadata.calibration is not None:
        question["calibration"] = bundle.metadata.calibration.as_dict()
    state = RunState(scan_fingerprint(ct), bundle.metadata.weights_sha256, question)
    parts = (folder.probabilities_path, folder.activation_path, folder.brain_path, folder.raw_labels_path)
    keeps = state.same_answer(former) and all(path.is_file() for path in parts)
    compute = choose_compute(job, former.compute if former is not None and keeps else None, bundle.metadata)
    if not keeps:
        for path in parts:
            path.unlink(missing_ok=True)
    state = replace(state, compute=compute.to_dict())
    state.save(folder)
    return state
