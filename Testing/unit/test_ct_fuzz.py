"""Damaged scans end in a refusal or in a scan that can be measured; nothing else, and soon."""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import DamagedInput, damaged_inputs, intact_input

from HemoCAMLib.ct import AIR_HU, HeadCT, read_head_ct
from HemoCAMLib.errors import InputRefused

_LONGEST_S = 20.0


def check_scan(scan: HeadCT) -> None:
    """What every scan that was not refused promises."""
    slices, rows, columns = scan.shape
    geometry = scan.geometry
    assert scan.hu.shape == (slices, rows, columns)
    assert scan.hu.dtype == np.int16
    assert scan.hu.min() >= AIR_HU
    assert geometry.positions_mm.shape == (slices, 3)
    assert np.isfinite(geometry.extents_mm).all()
    assert (geometry.extents_mm > 0).all()
    assert 10 < geometry.extents_mm.sum() * geometry.pixel_area_mm2 * rows * columns / 1000 < 200_000
    assert np.isfinite(scan.grid.directions_lps_mm).all()
    assert sorted(scan.grid.to_stored(scan.hu).shape) == sorted(scan.hu.shape)


def outcome(path: Path, store: Path | None) -> str:
    """The code of the refusal, or ``scan``."""
    try:
        scan = read_head_ct(path, store=store)
    except InputRefused as error:
        refusal = error
    else:
        check_scan(scan)
        if store is not None:
            store.unlink()
        return "scan"
    assert refusal.code.startswith("CT_")
    assert refusal.message.endswith(".")
    assert "Secret" not in str(refusal.as_dict())
    assert store is None or not list(store.parent.glob(store.name + "*"))
    return refusal.code


@pytest.mark.parametrize(
    "source", ["dicom", "tilted", "jpeg2000", "rle", "enhanced", "nifti", "nifti_gz", "nifti_float", "nrrd"]
)
def test_the_scans_that_are_damaged_are_read_while_intact(tmp_path: Path, source: str) -> None:
    assert outcome(intact_input(source, tmp_path / "in"), None) == "scan"


def test_forty_damaged_scans_are_refused_or_read(tmp_path: Path) -> None:
    outcomes = []
    for number, damaged in enumerate(damaged_inputs(tmp_path, 40, seed=7)):
        start = time.perf_counter()
        outcomes.append(outcome(damaged.path, tmp_path / "store.raw" if number % 2 else None))
        assert time.perf_counter() - start < _LONGEST_S, damaged.name
    assert 15 < sum(code != "scan" for code in outcomes) < 40


def _limit_memory(paths: list[str]) -> None:
    sys.path[:] = paths
    if sys.platform.startswith("linux"):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))


def _outcome_elsewhere(damaged: DamagedInput, store: Path | None) -> str:
    return outcome(damaged.path, store)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_damaged_scans_are_refused_or_read(tmp_path: Path, seed: int) -> None:
    """In a process of its own with little memory, so that a crash, a hang and a huge allocation are seen as such."""
    context: Any = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    failures = []
    codes: dict[str, int] = {}
    with context.Pool(1, _limit_memory, (sys.path,)) as pool:
        for number, damaged in enumerate(damaged_inputs(tmp_path, 300, seed)):
            store = tmp_path / "store.raw" if number % 2 else None
            try:
                code = pool.apply_async(_outcome_elsewhere, (damaged, store)).get(_LONGEST_S)
            except Exception as error:
                failures.append(f"{damaged.name}: {error!r}")
                continue
            codes[code] = codes.get(code, 0) + 1
    print(dict(sorted(codes.items())))
    assert not failures, "\n".join(failures)
