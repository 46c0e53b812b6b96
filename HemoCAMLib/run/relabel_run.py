"""A finished run labelled and measured anew with other mask settings, without the network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from HemoCAMLib.errors import HemoCAMError, UsageError
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.threshold_rule import ThresholdRule
from HemoCAMLib.model import find_model
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.protocol import Message
from HemoCAMLib.run.record import ClassOrder, input_record, measurement_record
from HemoCAMLib.run.reporter import Reporter
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.slice_desk import SliceDesk
from HemoCAMLib.run.source import scan_of_run
from HemoCAMLib.run.state import RunState
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: Slices that are handed over at once; one event each.
BATCH = 8


def relabel(
    run: str | Path,
    out: str | Path,
    *,
    mask: Mapping[str, Any],
    source: str | Path | None = None,
    overwrite: bool = False,
    on_event: Callable[[Message], None] = lambda event: None,
) -> Result:
    """Makes a new run folder with new labels and volumes from the maps of a finished run, which is left as it is.

    The new folder is what an analysis with these settings would have left, and can be relabelled in turn.

    Args:
        run: run folder of a finished analysis.
        out: another folder, made if absent.
        mask: changes of the run's mask settings, as in :class:`~HemoCAMLib.run.job.AnalyzeJob`; a new ``scale`` comes
            with the thresholds of the run's model unless a rule finds them or all are given.
        source: where the scan lies now; None looks where it was.
        overwrite: allow ``out`` to hold another analysis.
        on_event: called with every event.

    Returns:
        the new result; ``relabelled_from`` in its fields holds the settings of the old one.

    Raises:
        HemoCAMError: the run, the scan, the settings or the output folder is refused.
    """
    old = Result.load(run)
    reporter = Reporter(on_event)
    with reporter.timed("total"):
        settings = relabel_settings(old, mask)
        former, folder = RunFolder(old.folder), RunFolder(out)
        if former.path.resolve() == folder.path.resolve():
            raise UsageError("USAGE_OUT", "A run is not relabelled in place.", "Choose another output folder.")
        job = replace(former.read_job(), mask={**settings.as_dict()})
        with reporter.timed("read"):
            ct = scan_of_run(old, source)
        folder.prepare(job, overwrite=overwrite)
        with folder.lock():
            for path in (folder.result_path, folder.raw_labels_path, folder.refinement_path):
                path.unlink(missing_ok=True)
            if former.input_array_path.is_file():
                shutil.copyfile(former.input_array_path, folder.input_array_path)
            desk = SliceDesk(folder, ct, ClassOrder(old.classes), settings, reporter)
            try:
                maps, probabilities = old.activation.swapaxes(0, 1), old.probabilities.T
                for first in range(0, ct.shape[0], BATCH):
                    desk.take(first, probabilities[first : first + BATCH], maps[first : first + BATCH])
                slices, measurements, warnings = desk.finish()
            finally:
                desk.close()
            ct = replace(ct, warnings=(*ct.warnings, *warnings))
            state = RunState.load(former)
            if state is not None:
                replace(state, question={**state.question, "mask": settings.as_dict()}).save(folder)
    fields = {
        **old.fields,
        "input": input_record(ct),
        "settings": {**old.fields["settings"], "mask": settings.as_dict()},
        "slices": slices,
        **measurement_record(measurements),
        "relabelled_from": {"mask": old.fields["settings"]["mask"]},
        "timing_s": reporter.timing_s,
    }
    folder.write_json(folder.result_path, fields)
    folder.remove_scratch()
    return Result.load(folder.path)


def relabel_settings(old: Result, mask: Mapping[str, Any]) -> MaskSettings:
    """A run's mask settings with changes, as :func:`relabel` takes them; another scale brings its own thresholds.

    Raises:
        UsageError: a setting makes no sense, or the run has no maps that it would need (``USAGE_MAPS_MISSING``).
    """
    changes = dict(mask)
    settings = MaskSettings.from_dict(old.fields["settings"]["mask"])
    scale = changes.get("scale", settings.scale)
    rule = ThresholdRule.from_value(changes.get("rule", settings.rule))
    given = changes.get("mask_thresholds", {})
    if scale != settings.scale and set(given) != set(SUBTYPE_NAMES):
        try:
            thresholds = _thresholds_of_model(old, scale)
        except HemoCAMError:
            if rule.is_fixed:
                raise
            thresholds = dict.fromkeys(SUBTYPE_NAMES, 0.0)
        changes["mask_thresholds"] = {**thresholds, **given}
    changed = settings.changed(changes)
    _check_maps_exist(old, changed)
    return changed


def _check_maps_exist(old: Result, settings: MaskSettings) -> None:
    """A map was made only where a subtype was above its gate, unless the run was asked for all."""
    explained_above = old.fields["settings"]["map"]["explained_above"]
    for name, gate in zip(SUBTYPE_NAMES, settings.class_thresholds, strict=True):
        if explained_above is not None and gate < explained_above.get(name, gate):
            raise UsageError(
                "USAGE_MAPS_MISSING",
                f"This run has maps of {name} only in slices above a probability of {explained_above[name]:g}.",
                "Choose a higher gate, or analyse again with maps of all classes (--explain all).",
            )


def _thresholds_of_model(old: Result, scale: str) -> dict[str, float]:
    bundle = find_model(RunFolder(old.folder).read_job().model)
    if bundle.metadata.weights_sha256 != old.fields["model"]["checksum"]:
        raise UsageError(
            "USAGE_MASK_SETTINGS",
            "The model of this run is no longer the same, so its thresholds for another scale are not known.",
            "Give a threshold for every subtype, or a rule that finds them.",
        )
    recommended = MaskSettings.from_metadata(bundle.metadata.hemocam_fields(), scale=scale)
    return dict(zip(SUBTYPE_NAMES, recommended.mask_thresholds, strict=True))
