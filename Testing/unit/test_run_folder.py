"""The run folder and the files in it that are filled slice by slice."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from HemoCAMLib.ct.head_ct import InputGrid
from HemoCAMLib.errors import UsageError, WorkerFailed
from HemoCAMLib.run.folder import GrowingArray, RunFolder
from HemoCAMLib.run.job import AnalyzeJob
from HemoCAMLib.run.label_file import RawLabels, write_labels_nrrd


def test_a_job_survives_the_way_through_its_file(tmp_path):
    job = AnalyzeJob("Kopf Übersicht/ct", None, "1.2", True, "m", "cpu", "float32", 3, 2, {"scale": "per_image"})
    folder = RunFolder(tmp_path / "läuft")
    folder.prepare(job)
    assert folder.read_job() == job


@pytest.mark.parametrize(
    "fields", [{"device": "toaster"}, {"precision": "half"}, {"batch_size": -1}, {"threads": 9999}, {"colour": 1}]
)
def test_an_impossible_job_is_refused_with_a_usage_error(fields):
    with pytest.raises(UsageError):
        AnalyzeJob.from_dict(fields)


def test_another_scan_is_not_written_over_unless_allowed(tmp_path):
    folder = RunFolder(tmp_path)
    folder.prepare(AnalyzeJob("a"))
    folder.write_json(folder.result_path, {"schema": 1})
    with pytest.raises(UsageError, match="another scan"):
        folder.prepare(AnalyzeJob("b"))
    assert folder.is_complete
    folder.prepare(AnalyzeJob("b"), overwrite=True)
    assert not folder.is_complete


def test_an_unfinished_run_of_the_same_scan_keeps_its_slices_even_on_another_device(tmp_path):
    folder = RunFolder(tmp_path)
    folder.prepare(AnalyzeJob("a"))
    folder.probabilities_path.write_bytes(b"kept")
    folder.prepare(AnalyzeJob("a", device="cpu", batch_size=2))
    assert folder.probabilities_path.read_bytes() == b"kept"


def test_a_damaged_job_file_is_a_usage_error(tmp_path):
    (tmp_path / "job.json").write_bytes(b"{\xff")
    with pytest.raises(UsageError):
        RunFolder(tmp_path).read_job()


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        RunFolder(tmp_path / "file" / "run").prepare(AnalyzeJob("a"))


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.lock(), pytest.raises(WorkerFailed, match="Another analysis"):
        folder.lock()
    folder.lock().close()


@given(st.permutations(range(5)))
def test_slices_written_in_any_order_are_what_numpy_loads(tmp_path_factory, order):
    path = tmp_path_factory.mktemp("grow") / "activation.npy"
    values = np.random.default_rng(0).normal(size=(3, 5, 4, 6)).astype(np.float16)
    array = GrowingArray(path, values.shape, "<f2")
    for index in order:
        array.write(index, values[:, index])
    np.testing.assert_array_equal(array.read(order[0]), values[:, order[0]])
    array.close()
    np.testing.assert_array_equal(np.load(path), values)


def test_a_growing_array_that_is_opened_again_keeps_what_it_holds_and_a_damaged_one_starts_anew(tmp_path):
    path = tmp_path / "probabilities.npy"
    array = GrowingArray(path, (2, 3), "<f4", fill=np.nan)
    array.write(1, np.array([0.25, 0.5], np.float32))
    array.close()
    again = GrowingArray(path, (2, 3), "<f4", fill=np.nan)
    assert again.read(1).tolist() == [0.25, 0.5]
    assert np.isnan(again.read(0)).all()
    again.close()
    path.write_bytes(path.read_bytes()[:-3])
    damaged = GrowingArray(path, (2, 3), "<f4", fill=np.nan)
    assert np.isnan(damaged.read(1)).all()
    damaged.close()


def _grid(axes=(0, 1, 2), flips=(), directions=None):
    directions = np.diag([0.5, 0.6, 4.0]) if directions is None else directions
    return InputGrid(axes, flips, np.array([-10.25, 20.5, 30.125]), directions)


def test_a_label_map_is_read_back_on_the_inputs_grid(tmp_path):
    labels = np.random.default_rng(1).integers(0, 6, (4, 5, 7)).astype(np.uint8)
    path = tmp_path / "labels.nrrd"
    write_labels_nrrd(path, lambda index: labels[index], labels.shape, _grid())
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    assert image.GetSpacing() == pytest.approx((0.5, 0.6, 4.0))
    assert image.GetOrigin() == pytest.approx((-10.25, 20.5, 30.125))


def test_a_label_map_of_a_sagittal_scan_is_turned_back(tmp_path):
    labels = np.random.default_rng(2).integers(0, 6, (4, 5, 7)).astype(np.uint8)
    grid = _grid(axes=(2, 0, 1), flips=(1,))
    path = tmp_path / "labels.nrrd"
    write_labels_nrrd(path, lambda index: labels[index], labels.shape, grid)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), grid.to_stored(labels))


def test_the_same_labels_give_the_same_bytes(tmp_path):
    labels = np.ones((2, 3, 4), np.uint8)
    for name in ("a", "b"):
        write_labels_nrrd(tmp_path / name, lambda index: labels[index], labels.shape, _grid())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_label_slices_are_kept_until_the_size_of_the_scan_changes(tmp_path):
    path = tmp_path / "labels.part"
    raw = RawLabels(path, (2, 3, 4))
    raw.write(1, np.full((3, 4), 5, np.uint8))
    raw.close()
    again = RawLabels(path, (2, 3, 4))
    assert again.read(1).min() == 5
    assert again.read(0).max() == 0
    again.close()
