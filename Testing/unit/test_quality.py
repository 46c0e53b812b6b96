"""A scan in numbers, held against what a model was trained on, in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import find_brain
from HemoCAMLib.quality import COMPARED, ScanStatistics, assess, measure_scan
from HemoCAMLib.quality.statistics import METAL_HU

SPACING_MM, STEP_MM = 0.9, 5.0
RADIUS_MM = 70.0


def geometry(slices: int = 10, tilt_deg: float = 0.0) -> SliceGeometry:
    tilt = np.radians(tilt_deg)
    column, normal = np.array([0, np.cos(tilt), np.sin(tilt)]), np.array([0, -np.sin(tilt), np.cos(tilt)])
    positions = np.outer(np.arange(slices) * STEP_MM, normal)
    return SliceGeometry(positions, np.array([1.0, 0, 0]), column, (SPACING_MM, SPACING_MM), STEP_MM)


def ball_of_a_head(slices: int = 10, *, noise_hu: float = 3.0, brain_hu: float = 30.0) -> NDArray[np.int16]:
    """Slices through the middle of a round skull: a disc of brain that shrinks to nothing at both ends."""
    size = 200
    y, x = (np.indices((size, size)) - (size - 1) / 2) * SPACING_MM
    rng = np.random.default_rng(3)
    volume = np.full((slices, size, size), -1000, np.int16)
    for index in range(slices):
        height = abs(2 * index / (slices - 1) - 1) if slices > 1 else 0.0
        radius = RADIUS_MM * np.sqrt(max(1 - height**2, 0.0))
        distance = np.hypot(x, y)
        image = np.full((size, size), -1000.0)
        image[distance < radius + 13] = 20
        image[distance < radius + 7] = 1000
        image[distance < radius] = brain_hu
        image += rng.normal(0, noise_hu, image.shape)
        volume[index] = np.round(image)
    return volume


def statistics_of(hu: NDArray[np.int16], where: SliceGeometry) -> ScanStatistics:
    return measure_scan(hu, where, find_brain(list(hu), where))


@pytest.mark.parametrize("noise_hu", [2.0, 4.0])
def test_density_and_noise_of_a_known_brain_are_measured(noise_hu: float) -> None:
    found = statistics_of(ball_of_a_head(noise_hu=noise_hu, brain_hu=31.0), geometry())
    assert found.brain_median_hu == pytest.approx(31.0, abs=0.1)
    # Of a normal distribution 80 % lie within 1.2816 standard deviations; whole HU add 1/12 to the variance.
    spread = 1.2816 * np.sqrt(noise_hu**2 + 1 / 12)
    assert found.brain_p90_hu == pytest.approx(31.0 + spread, abs=0.15)
    assert found.brain_p10_hu == pytest.approx(31.0 - spread, abs=0.15)
    assert found.noise_hu == pytest.approx(noise_hu, rel=0.06)
    assert found.enhanced_percent == 0
    assert found.metal_ml == 0


def test_sampling_comes_from_the_geometry() -> None:
    found = statistics_of(ball_of_a_head(), geometry(tilt_deg=-18.5))
    assert found.pixel_spacing_mm == SPACING_MM
    assert found.slice_extent_mm == pytest.approx(STEP_MM)
    assert found.tilt_deg == pytest.approx(18.5)


def test_volume_and_height_of_the_space_inside_the_skull_are_those_of_the_head() -> None:
    found = statistics_of(ball_of_a_head(12), geometry(12))
    heights = np.abs(2 * np.arange(12) / 11 - 1)
    exact_ml = float((np.pi * RADIUS_MM**2 * (1 - heights**2) * STEP_MM).sum() / 1000)
    assert found.brain_volume_ml == pytest.approx(exact_ml, rel=0.06)
    assert found.brain_height_mm == pytest.approx(10 * STEP_MM)


def test_metal_is_measured_in_millilitres() -> None:
    hu = ball_of_a_head()
    hu[4:6, 80:104, 90:114] = 3000
    found = statistics_of(hu, geometry())
    assert found.metal_ml == pytest.approx(2 * 24 * 24 * SPACING_MM**2 * STEP_MM / 1000, rel=0.02)
    assert "QUALITY_METAL" in {finding.code for finding in assess(found, {}).findings}
    hu[hu > METAL_HU] = METAL_HU
    assert statistics_of(hu, geometry()).metal_ml == 0


def test_vessels_with_contrast_medium_are_noticed() -> None:
    hu = ball_of_a_head()
    hu[:, 95:103, 60:140] = 260
    hu[:, 60:64, 60:64] = 500
    codes = {finding.code for finding in assess(statistics_of(hu, geometry()), {}).findings}
    assert codes == {"QUALITY_CONTRAST"}


def test_a_scan_that_begins_or_ends_within_the_brain_is_said_to() -> None:
    whole = ball_of_a_head(14)
    whole_codes = {f.code for f in assess(statistics_of(whole, geometry(14)), {}).findings}
    upper = {f.code for f in assess(statistics_of(whole[7:], geometry(7)), {}).findings}
    lower = {f.code for f in assess(statistics_of(whole[:7], geometry(7)), {}).findings}
    assert (whole_codes, upper, lower) == (set(), {"QUALITY_BASE_CUT_OFF"}, {"QUALITY_VERTEX_CUT_OFF"})


def test_a_single_slice_has_no_height_and_is_not_called_cut_off() -> None:
    found = statistics_of(ball_of_a_head(1), geometry(1))
    assert found.brain_median_hu == pytest.approx(30, abs=0.2)
    assert found.brain_height_mm is found.brain_volume_ml is found.lowest_area_cm2 is None
    assert assess(found, {}).findings == ()


def test_a_scan_without_a_brain_still_has_its_sampling() -> None:
    found = statistics_of(np.full((6, 100, 100), -1000, np.int16), geometry(6))
    assert found.slice_extent_mm == pytest.approx(STEP_MM)
    assert found.brain_median_hu is None
    assert "could not be compared" in assess(found, {}).summary


RANGE = {"brain_median_hu": (28.0, 34.0), "noise_hu": (1.5, 3.5), "slice_extent_mm": (2.5, 5.0)}


def test_a_familiar_scan_gives_no_finding_and_a_calm_sentence() -> None:
    scan = ScanStatistics(0.45, 5.0, 0.0, brain_median_hu=30.0, noise_hu=2.0)
    answer = assess(scan, RANGE)
    assert answer.findings == ()
    assert "within what the model was trained on" in answer.summary


def test_how_far_outside_decides_between_a_note_and_a_warning() -> None:
    near = assess(ScanStatistics(0.45, 5.0, 0.0, brain_median_hu=35.0), RANGE)
    far = assess(ScanStatistics(0.45, 5.0, 0.0, brain_median_hu=40.0), RANGE)
    assert [finding.severity for finding in near.findings] == ["note"]
    assert [finding.severity for finding in far.findings] == ["warning"]
    assert "at the edge" in near.summary
    assert "with caution" in far.summary
    assert "40 HU" in far.findings[0].message
    assert "28 to 34 HU" in far.findings[0].message


def test_warnings_come_before_notes() -> None:
    scan = ScanStatistics(0.45, 5.2, 0.0, brain_median_hu=60.0, noise_hu=3.6)
    severities = [finding.severity for finding in assess(scan, RANGE).findings]
    assert severities == ["warning", "note", "note"]


@given(st.dictionaries(st.sampled_from(COMPARED), st.floats(-100, 100)), st.floats(0.01, 50))
def test_a_value_inside_its_range_is_never_remarked_on_and_one_outside_always(
    values: dict[str, float], width: float
) -> None:
    scan = ScanStatistics(**{"pixel_spacing_mm": 1.0, "slice_extent_mm": 1.0, "tilt_deg": 1.0, **values})
    inside = {name: (value - width, value + width) for name, value in values.items()}
    outside = {name: (value + width, value + 2 * width) for name, value in values.items()}
    assert assess(scan, inside).findings == ()
    assert {finding.statistic for finding in assess(scan, outside).findings} == set(values)


def test_the_real_tilted_series_is_measured(shared_data: Path) -> None:
    ct = read_head_ct(shared_data / "ge_tilt_headct_dicom")
    found = measure_scan(ct.slices, ct.geometry, find_brain(list(ct.slices), ct.geometry))
    assert found.tilt_deg == pytest.approx(18.5, abs=0.1)
    # Published for real slices: median 29-32 HU, p10 20-25, p90 37-40; this one has a large old infarct.
    assert 28 < found.brain_median_hu < 33
    assert 1300 < found.brain_volume_ml < 1600
    assert [finding.code for finding in assess(found, {}).findings] == []
