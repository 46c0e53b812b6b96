"""The scan of a run is found again, and no other one is taken for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic_head import head_hu

from HemoCAMLib import analyze
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run

IJK_TO_RAS = np.diag([3.4, 3.4, 5.0, 1.0])


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = sitk.GetImageFromArray(head_hu())
    image.SetSpacing((3.4, 3.4, 5.0))
    path = tmp_path_factory.mktemp("scan") / "head.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def result(scan: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return analyze(scan, tmp_path_factory.mktemp("run") / "run", model=str(tiny_bundle), threads=1)


def test_the_scan_is_found_where_it_was(result: Result) -> None:
    found = scan_of_run(result)
    assert np.array_equal(np.sort(found.hu, axis=None), np.sort(head_hu(), axis=None))


def test_a_scan_that_moved_is_found_where_it_is_now(result: Result, scan: Path, tmp_path: Path) -> None:
    moved = shutil.copy(scan, tmp_path / "elsewhere.nii.gz")
    assert np.array_equal(scan_of_run(result, moved).hu, scan_of_run(result).hu)


def test_an_array_is_kept_in_the_run_folder(tiny_bundle: Path, tmp_path: Path) -> None:
    array = head_hu()
    result = analyze(array, tmp_path / "run", ijk_to_ras=IJK_TO_RAS, model=str(tiny_bundle), threads=1)
    assert scan_of_run(result).shape == array.shape
    (tmp_path / "run" / "input.npy").unlink()
    with pytest.raises(InputRefused) as caught:
        scan_of_run(result)
    assert caught.value.code == "CT_SOURCE_GONE"


def test_a_scan_that_is_gone_is_asked_for(result: Result, scan: Path, tmp_path: Path) -> None:
    away = scan.rename(tmp_path / "away.nii.gz")
    try:
        with pytest.raises(InputRefused) as caught:
            scan_of_run(result)
        assert caught.value.code == "CT_SOURCE_GONE"
    finally:
        away.rename(scan)


@pytest.mark.parametrize("change", ["voxel", "position", "slices"])
def test_another_scan_is_refused(result: Result, scan: Path, tmp_path: Path, change: str) -> None:
    array, origin = head_hu(), (0.0, 0.0, 0.0)
    if change == "voxel":
        array[4, 30, 30] += 1
    elif change == "position":
        origin = (0.0, 0.0, 2.0)
    else:
        array = array[:-1]
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((3.4, 3.4, 5.0))
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(tmp_path / "other.nii.gz"))
    with pytest.raises(InputRefused) as caught:
        scan_of_run(result, tmp_path / "other.nii.gz")
    assert caught.value.code == "CT_OTHER_SERIES"
