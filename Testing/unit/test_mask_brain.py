"""The brain mask, on heads made of closed forms and on real scans."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from HemoCAMLib.ct.geometry import SliceGeometry
from HemoCAMLib.mask import BrainMask, find_brain
from HemoCAMLib.mask.intracranial import share_of_directions_blocked
from HemoCAMLib.mask.low_resolution import LowResolutionBuilder
from HemoCAMLib.measure import MidlinePlane

#: Semi-axes of the intracranial space, left-right, front-back, up-down, in mm.
SPACE_MM = np.array([66.0, 84.0, 66.0])
SKULL_MM, FAT_MM, SKIN_MM = 6.0, 4.0, 3.0


@dataclass(frozen=True, eq=False)
class Head:
    """A head of ellipsoids with its truth; ``depth_mm`` is how deep under the inner table a voxel lies."""

    hu: np.ndarray
    space: np.ndarray
    depth_mm: np.ndarray
    left_mm: np.ndarray
    geometry: SliceGeometry

    def masks(self, hu: np.ndarray | None = None) -> tuple[BrainMask, np.ndarray]:
        hu = self.hu if hu is None else hu
        brain = find_brain(hu, self.geometry)
        return brain, np.stack([brain.slice(index, slice_hu) for index, slice_hu in enumerate(hu)])

    def volume_ml(self, mask: np.ndarray) -> float:
        areas = np.count_nonzero(mask, axis=(1, 2)) * self.geometry.pixel_area_mm2
        return float((areas * self.geometry.extents_mm).sum() / 1000)


@functools.lru_cache(maxsize=8)
def head(
    *,
    rows: int = 256,
    columns: int = 256,
    spacing_mm: tuple[float, float] = (0.9, 0.9),
    step_mm: float = 5.0,
    tilt_deg: float = 0.0,
    turn_deg: float = 0.0,
    shift_mm: float = 0.0,
    noise_hu: float = 4.0,
) -> Head:
    tilt, turn = np.radians(tilt_deg), np.radians(turn_deg)
    column_direction = np.array([0, np.cos(tilt), np.sin(tilt)])
    count = int(150 / step_mm)
    positions = np.zeros((count, 3))
    # A tilted gantry: the table moves along the body, so slices are sheared against their normal.
    positions[:, 2] = (np.arange(count) - (count - 1) / 2) * step_mm
    centre = np.array([(columns - 1) / 2 * spacing_mm[1], 0, 0]) + (rows - 1) / 2 * spacing_mm[0] * column_direction
    geometry = SliceGeometry(positions - centre, np.eye(3)[0], column_direction, spacing_mm)
    row, column = np.mgrid[:rows, :columns]
    points = geometry.positions_mm[:, None, None] + row[..., None] * spacing_mm[0] * column_direction
    points = points + column[..., None] * spacing_mm[1] * np.eye(3)[0] - np.array([shift_mm, 0, 0])
    left = points[..., 0] * np.cos(turn) - points[..., 1] * np.sin(turn)
    back = points[..., 0] * np.sin(turn) + points[..., 1] * np.cos(turn)
    radii = np.sqrt((left / SPACE_MM[0]) ** 2 + (back / SPACE_MM[1]) ** 2 + (points[..., 2] / SPACE_MM[2]) ** 2)
    outside_mm = (radii - 1) * SPACE_MM.min()
    hu = np.full(radii.shape, -1000.0)
    for limit_mm, value in ((SKULL_MM + FAT_MM + SKIN_MM, 30), (SKULL_MM + FAT_MM, -80), (SKULL_MM, 900), (0, 33)):
        hu[outside_mm < limit_mm] = value
    hu[np.hypot(left / 20, back / 30) + np.abs(points[..., 2]) / 20 < 1] = 8
    hu[:, -12:-8] = 300
    blur_px = 0.5 / np.asarray(spacing_mm)
    hu = ndimage.gaussian_filter(hu, (0, *blur_px)) + np.random.default_rng(0).normal(0, noise_hu, hu.shape)
    hu[:, :4, :] = -1024
    return Head(hu.astype(np.int16), outside_mm < 0, -outside_mm, left, geometry)


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"rows": 512, "columns": 512, "spacing_mm": (0.45, 0.45), "step_mm": 10.0},
        {"rows": 300, "columns": 200, "spacing_mm": (0.8, 1.1)},
        {"tilt_deg": 22.0, "turn_deg": 12.0, "shift_mm": 15.0},
        {"step_mm": 0.625, "noise_hu": 15.0, "rows": 128, "columns": 128, "spacing_mm": (1.8, 1.8)},
        {"noise_hu": 20.0},
    ],
    ids=["plain", "fine", "anisotropic", "tilted", "thin", "noisy"],
)
def test_the_mask_fills_the_skull_and_stays_inside(variant: dict[str, object]) -> None:
    made = head(**variant)  # type: ignore[arg-type]
    brain, mask = made.masks()
    assert not brain.is_empty
    lost = made.space & ~mask & (made.depth_mm > 1.5 * max(made.geometry.pixel_spacing_mm))
    # The caps, where the skull is cut almost along its surface, may stay out.
    assert made.volume_ml(lost) < 0.02 * made.volume_ml(made.space)
    assert not (mask & (made.depth_mm < -1.5)).any()


@pytest.mark.parametrize("hu", [30, 60, 75, 100])
@pytest.mark.parametrize("thickness_mm", [4.0, 12.0])
def test_blood_along_the_inner_table_is_part_of_it(hu: int, thickness_mm: float) -> None:
    made = head(rows=512, columns=512, spacing_mm=(0.45, 0.45), step_mm=10.0)
    blood = (made.depth_mm > 0.5) & (made.depth_mm < thickness_mm) & (made.left_mm > 0)
    blood[:4] = blood[-4:] = False
    noise = np.random.default_rng(1).normal(0, 4, blood.shape)
    _, mask = made.masks(np.where(blood, hu + noise, made.hu).astype(np.int16))
    assert np.count_nonzero(mask & blood) > 0.97 * np.count_nonzero(blood)


def test_calcification_air_and_bone_are_not_part_of_it() -> None:
    made = head()
    hu = made.hu.copy()
    middle = len(hu) // 2
    hu[middle, 120:130, 100:110] = 700
    hu[middle, 60:75, 110:140] = -900
    _, mask = made.masks(hu)
    assert not mask[middle, 121:129, 101:109].any()
    assert not mask[middle, 61:74, 111:139].any()
    assert mask[middle, 128, 150]


def test_a_missing_piece_of_skull_does_not_lose_the_brain() -> None:
    made = head()
    hole = (made.depth_mm <= 1) & (made.depth_mm > -SKULL_MM) & (made.left_mm > 50)
    hole[:8] = hole[-8:] = False
    _, mask = made.masks(np.where(hole, 30, made.hu).astype(np.int16))
    lost = made.space & ~mask & (made.depth_mm > 2)
    assert made.volume_ml(lost) < 0.03 * made.volume_ml(made.space)
    assert made.volume_ml(mask & ~made.space) < 0.05 * made.volume_ml(made.space)


def test_every_slice_alone_gives_nearly_what_the_whole_scan_gives() -> None:
    made = head()
    _, together = made.masks()
    for index in range(6, len(made.hu) - 6):
        alone = find_brain(made.hu[index : index + 1], lone_slice(made.geometry.pixel_spacing_mm))
        difference = alone.slice(0, made.hu[index]) ^ together[index]
        assert np.count_nonzero(difference) < 0.02 * np.count_nonzero(together[index])


@pytest.mark.parametrize("value", [-1024, 0, 40, 1500])
def test_a_picture_without_a_head_gives_an_empty_mask(value: int) -> None:
    hu = np.full((3, 64, 48), value, np.int16)
    geometry = SliceGeometry(np.arange(9.0).reshape(3, 3), np.eye(3)[0], np.eye(3)[1], (1.0, 1.0))
    brain = find_brain(hu, geometry)
    assert brain.is_empty
    assert not brain.slice(1, hu[1]).any()
    assert MidlinePlane.from_brain(brain, geometry) is None


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (5, 5)])
def test_tiny_pictures_are_no_trouble(shape: tuple[int, int]) -> None:
    hu = np.random.default_rng(0).integers(-1024, 3071, (1, *shape)).astype(np.int16)
    assert find_brain(hu, lone_slice((0.5, 0.5))).slice(0, hu[0]).shape == shape


def test_extreme_values_do_not_overflow() -> None:
    made = head()
    hu = made.hu.copy()
    hu[made.depth_mm < -SKULL_MM - FAT_MM - SKIN_MM] = -32768
    hu[10, 120:125, 120:125] = 32767
    _, mask = made.masks(hu)
    assert not mask[10, 120:125, 120:125].any()
    assert made.volume_ml(mask) == pytest.approx(made.volume_ml(made.masks()[1]), rel=0.01)


def test_the_kept_copy_does_not_grow_with_thinner_slices() -> None:
    sizes = []
    for count, extent_mm in ((30, 5.0), (60, 2.5), (240, 0.625)):
        builder = LowResolutionBuilder((0.45, 0.45), np.full(count, extent_mm))
        for index in range(count):
            builder.add(index, np.zeros((64, 64), np.int16))
        sizes.append(builder.finish().mean_hu.shape)
    assert sizes == [(30, 16, 16), (60, 16, 16), (60, 16, 16)]


def test_slices_out_of_order_are_a_programming_error() -> None:
    builder = LowResolutionBuilder((0.45, 0.45), np.full(3, 5.0))
    with pytest.raises(ValueError, match="out of order"):
        builder.add(1, np.zeros((8, 8), np.int16))


def test_directions_are_counted_on_all_sides() -> None:
    bone = np.zeros((1, 21, 21), bool)
    bone[0, 0], bone[0, -1], bone[0, :, 0], bone[0, :, -1] = True, True, True, True
    assert share_of_directions_blocked(bone)[0, 10, 10] == 1
    bone[0, 0, 1:-1] = False
    open_front = share_of_directions_blocked(bone)[0]
    assert open_front[10, 10] == pytest.approx(13 / 16)
    assert open_front[2, 10] < open_front[18, 10]


def test_the_real_tilted_series_is_masked_from_the_foramen_magnum_to_the_vertex(shared_data: Path) -> None:
    hu, geometry = real_series(shared_data / "ge_tilt_headct_dicom")
    brain = find_brain(hu, geometry)
    masks = np.stack([brain.slice(index, slice_hu) for index, slice_hu in enumerate(hu)])
    areas_mm2 = np.count_nonzero(masks, axis=(1, 2)) * geometry.pixel_area_mm2
    assert 1450 < (areas_mm2 * geometry.extents_mm).sum() / 1000 < 1580
    # Neck below, nothing but bone above, brain in every slice between.
    assert not areas_mm2[:4].any()
    assert areas_mm2[5:27].all()
    assert areas_mm2[27] == 0
    assert areas_mm2[13:20].min() > 14000
    # Both eyes, the head holder, neck muscle; then cerebellum, both temporal lobes, an old infarct, a ventricle.
    for index, row, column in ((6, 123, 140), (6, 93, 291), (13, 350, 60), (6, 411, 259)):
        assert not masks[index, row - 5 : row + 6, column - 5 : column + 6].any()
    for index, row, column in ((6, 324, 274), (8, 210, 322), (8, 234, 169), (15, 320, 345), (19, 250, 230)):
        assert masks[index, row - 5 : row + 6, column - 5 : column + 6].all()
    assert not masks[hu > 200].any()


def test_real_slices_alone_agree_with_the_real_series(shared_data: Path) -> None:
    hu, geometry = real_series(shared_data / "ge_tilt_headct_dicom")
    brain = find_brain(hu, geometry)
    together = np.stack([brain.slice(index, slice_hu) for index, slice_hu in enumerate(hu)])
    lone = lone_slice(geometry.pixel_spacing_mm)
    alone = np.stack([find_brain(slice_hu[None], lone).slice(0, slice_hu) for slice_hu in hu])
    assert 2 * np.count_nonzero(alone & together) > 0.99 * (np.count_nonzero(alone) + np.count_nonzero(together))


def test_a_real_posterior_fossa_slice_shows_its_four_spaces(shared_data: Path) -> None:
    dataset = pydicom.dcmread(shared_data / "pydicom_headct" / "J2K_pixelrep_mismatch.dcm")
    hu = hounsfield(dataset)
    mask = find_brain(hu[None], lone_slice((0.431, 0.431))).slice(0, hu)
    numbered, _ = ndimage.label(mask)
    sizes_mm2 = np.sort(np.bincount(numbered.ravel())[1:])[::-1] * 0.431**2
    assert 8000 < sizes_mm2.sum() < 10500
    for row, column in ((326, 254), (213, 170), (216, 341), (131, 259)):
        assert mask[row, column]
    assert not mask[:75].any()


def test_a_plastic_head_full_of_air_is_empty(shared_data: Path) -> None:
    hu, geometry = real_series(shared_data / "philips_phantom_tilt" / "tiltminus18p5")
    assert find_brain(hu, geometry).is_empty


@pytest.mark.parametrize(("number", "row", "column"), [(1, 271, 295), (2, 224, 167), (3, 271, 277)])
def test_real_hemorrhage_lies_inside_the_mask(shared_data: Path, number: int, row: int, column: int) -> None:
    paths = sorted((shared_data / "nc_sharealike" / "cq500_slices").glob("*.npy"))
    hu = np.load(paths[number]).clip(-1024).astype(np.int16)
    mask = find_brain(hu[None], lone_slice((0.45, 0.45))).slice(0, hu)
    lesion = np.s_[row - 3 : row + 4, column - 3 : column + 4]
    assert 45 < hu[lesion].mean() < 100
    assert mask[lesion].all()
    assert 10000 < np.count_nonzero(mask) * 0.45**2 < 21000
    assert not mask[hu > 200].any()


def lone_slice(spacing_mm: tuple[float, float]) -> SliceGeometry:
    return SliceGeometry(np.zeros((1, 3)), np.eye(3)[0], np.eye(3)[1], spacing_mm)


@functools.lru_cache(maxsize=2)
def real_series(folder: Path) -> tuple[np.ndarray, SliceGeometry]:
    """A DICOM series read with pydicom alone, so that these tests do not depend on the reader."""
    datasets = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    orientation = np.asarray(datasets[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    datasets.sort(key=lambda dataset: float(np.asarray(dataset.ImagePositionPatient, float) @ normal))
    positions = np.array([dataset.ImagePositionPatient for dataset in datasets], float)
    row_mm, column_mm = map(float, datasets[0].PixelSpacing)
    geometry = SliceGeometry(positions, orientation[:3], orientation[3:], (row_mm, column_mm))
    return np.stack([hounsfield(dataset) for dataset in datasets]), geometry


def hounsfield(dataset: pydicom.Dataset) -> np.ndarray:
    values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    return values.clip(-1024).astype(np.int16)
