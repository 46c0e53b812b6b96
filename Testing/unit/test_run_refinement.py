"""Refinement in a run: the same as from stored maps, told in the result, and the same after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import HemoCAMLib as hc
from HemoCAMLib.mask import MaskSettings, find_brain, label_scan
from HemoCAMLib.run.refinement_log import RefinementLog
from HemoCAMLib.subtypes import CLASS_NAMES, SUBTYPES

MASK = {
    "class_thresholds": {subtype.name: 0.0 for subtype in SUBTYPES},
    "mask_thresholds": {subtype.name: 0.45 for subtype in SUBTYPES},
    "minimum_volume_ml": 0.1,
    "refinement": {"name": "hysteresis", "smallest_height": 0.3},
}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball of brain in a shell of bone with three clots."""
    z, y, x = np.meshgrid(
        np.linspace(-0.6, 0.9, 12), np.linspace(-1.25, 1.25, 128), np.linspace(-1.45, 1.45, 128), indexing="ij"
    )
    radius = np.sqrt(x**2 + y**2 + z**2)
    noise = np.random.default_rng(0).normal(0, 3, radius.shape)
    head = np.select([radius < 0.88, radius < 1.0, radius < 1.06], [32 + noise, 1000, 10 + noise], -1000)
    for column, row in ((0.3, 0.0), (-0.4, 0.3), (-0.2, -0.5)):
        head[((x - column) ** 2 + (y - row) ** 2 + z**2) < 0.04] = 62
    image = sitk.GetImageFromArray(head.astype(np.int16))
    image.SetSpacing((1.6, 1.6, 7.0))
    path = tmp_path_factory.mktemp("scan") / "head.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def worker():  # type: ignore[no-untyped-def]
    with hc.PlainWorker() as worker:
        yield worker


@pytest.fixture(scope="module")
def result(scan: Path, tiny_bundle: Path, worker, tmp_path_factory) -> hc.Result:  # type: ignore[no-untyped-def]
    out = tmp_path_factory.mktemp("run")
    return hc.analyze(scan, out, model=str(tiny_bundle), threads=1, batch_size=2, mask=MASK, worker=worker)


def relabelled(result: hc.Result, scan: Path) -> np.ndarray:
    ct = hc.read_head_ct(scan)
    brain = find_brain((ct.slices[i] for i in range(ct.shape[0])), ct.geometry)
    inside = [brain.slice(i, ct.slices[i]) for i in range(ct.shape[0])]
    rows = [CLASS_NAMES.index(subtype.name) for subtype in SUBTYPES]
    settings = MaskSettings.from_dict(result.fields["settings"]["mask"])
    labels = label_scan(result.activation[rows], result.probabilities[rows], inside, ct.geometry, settings, ct.slices)
    return np.stack(list(labels))


def canonical(result: hc.Result, scan: Path) -> np.ndarray:
    grid = hc.read_head_ct(scan).grid
    return np.transpose(np.flip(result.labels, grid.flips), np.argsort(grid.axes))


def test_a_run_refines_as_relabelling_from_its_stored_maps_does(result: hc.Result, scan: Path) -> None:
    labels = canonical(result, scan)
    np.testing.assert_array_equal(labels, relabelled(result, scan))
    assert labels.any()


def test_the_result_tells_the_settings_and_what_became_of_each_slice(result: hc.Result) -> None:
    assert result.fields["settings"]["mask"]["refinement"]["name"] == "hysteresis"
    told = [outcome for entry in result.slices for names in entry["refinement"].values() for outcome in names]
    assert set(told) >= {"refined", "cleared"}
    assert "MASK_REGIONS_CLEARED" in {warning["code"] for warning in result.warnings}
    assert not (result.folder / "refinement.part").exists()


def test_without_refinement_nothing_is_told(scan: Path, tiny_bundle: Path, worker, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain = hc.analyze(
        scan, tmp_path / "run", model=str(tiny_bundle), threads=1, mask={**MASK, "refinement": "off"}, worker=worker
    )
    assert all("refinement" not in entry for entry in plain.slices)
    assert plain.fields["settings"]["mask"]["refinement"] is None


def test_a_run_that_is_stopped_and_goes_on_gives_the_same(  # type: ignore[no-untyped-def]
    result: hc.Result, scan: Path, tiny_bundle: Path, worker, tmp_path: Path
) -> None:
    seen: list[int] = []

    def note(event: dict) -> None:  # type: ignore[type-arg]
        if event["event"] == "slices":
            seen.extend(entry["index"] for entry in event["slices"])

    asked = {"model": str(tiny_bundle), "threads": 1, "batch_size": 2, "mask": MASK, "worker": worker}
    with pytest.raises(hc.Cancelled):
        # At the first slices: on a busy machine the rest may be done before a later word reaches the worker.
        hc.analyze(scan, tmp_path / "run", on_event=note, cancelled=lambda: bool(seen), **asked)
    again = hc.analyze(scan, tmp_path / "run", **asked)
    for name in ("probabilities.npy", "activation.npy", "labels.nrrd"):
        assert (again.folder / name).read_bytes() == (result.folder / name).read_bytes(), name
    without_time = [{k: v for k, v in r.fields.items() if k != "timing_s"} for r in (again, result)]
    assert without_time[0] == without_time[1]


def test_relabelling_with_a_refinement_needs_the_scan(result: hc.Result, scan: Path) -> None:
    ct = hc.read_head_ct(scan)
    settings = MaskSettings.from_dict(result.fields["settings"]["mask"])
    inside = [np.ones(ct.shape[1:], bool)] * ct.shape[0]
    with pytest.raises(ValueError, match="HU"):
        next(label_scan(result.activation[:5], result.probabilities[:5], inside, ct.geometry, settings))


def test_a_log_that_never_wrote_tells_nothing(tmp_path: Path) -> None:
    log = RefinementLog(tmp_path / "log", 3)
    assert [log.record(index) for index in range(3)] == [{}, {}, {}]
    assert log.warnings() == ()
    log.close()
