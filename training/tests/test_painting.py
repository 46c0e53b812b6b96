"""Hemorrhages painted into a head of circles, whose anatomy is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hemocam_training.painting import Canvas, paint
from hemocam_training.painting.canvas import filled, smoothed, smoothstep
from hemocam_training.painting.clots import Clot, intraventricular, subarachnoid
from hemocam_training.painting.extra_axial import epidural, subdural
from hemocam_training.painting.look_alikes import brighten_rim
from torch.nn import functional

from HemoCAMLib.subtypes import SUBTYPE_NAMES, subtype_named

SIZE, PIXEL_MM, INNER_MM = 128, 1.8, 68.0
BONE_HU, BRAIN_HU, CSF_HU = 110.0, 32.0, 8.0


def round_head(seed: int, step_mm: float = 5.0) -> Canvas:
    """A disc of brain with two ventricles and a ring of sulci in a ring of bone."""
    axis = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius = torch.hypot(x, y)
    depth = INNER_MM - radius
    ventricle = (torch.hypot((x.abs() - 12) / 6, y / 22) < 1).float()
    sulci = ((depth > 3) & (depth < 9) & (torch.sin(12 * torch.atan2(y, x)) > 0)).float()
    hu = torch.full_like(radius, -60.0)
    hu[radius < INNER_MM + 7] = BONE_HU
    hu[depth > 0] = BRAIN_HU
    hu[(ventricle + sulci > 0) & (depth > 0)] = CSF_HU
    hu, depth, sulci, ventricle = (field.expand(3, -1, -1).clone() for field in (hu, depth, sulci, ventricle))
    generator = torch.Generator().manual_seed(seed)
    return Canvas(hu, depth, sulci, ventricle, pixel_mm=PIXEL_MM, step_mm=step_mm, generator=generator)


def test_a_pixel_on_the_surface_is_half_filled_and_the_edge_is_as_wide_as_asked() -> None:
    distance = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert filled(distance, 2.0).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert smoothstep(torch.tensor([0.0, 0.5, 1.0]), 0.0, 1.0).tolist() == [0.0, 0.5, 1.0]
    assert smoothstep(torch.tensor([0.0, 1.0]), 1.0, 0.0).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("seed", range(4))
def test_a_negative_stack_keeps_all_labels_at_zero_and_known(seed: int) -> None:
    painted = paint(round_head(seed), ())
    assert painted.target.tolist() == [0.0] * 6
    assert painted.known.tolist() == [1.0] * 6
    assert not painted.labels.any()


@pytest.mark.parametrize("name", SUBTYPE_NAMES)
def test_what_is_painted_is_labelled_as_that_subtype_and_as_any(name: str) -> None:
    called = 0
    for seed in range(12):
        painted = paint(round_head(seed), (name,))
        assert set(painted.labels.unique().tolist()) <= {0, subtype_named(name).label}
        place = 1 + SUBTYPE_NAMES.index(name)
        assert painted.target[0] == painted.target[place]
        assert float(painted.target.sum()) in (0.0, 2.0)
        called += int(painted.target[place])
    assert called >= 5


def test_the_same_generator_paints_the_same_stack() -> None:
    first, second = (paint(round_head(5), SUBTYPE_NAMES) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first.hu, paint(round_head(6), SUBTYPE_NAMES).hu)


@pytest.mark.parametrize("seed", range(6))
def test_blood_stays_in_the_space_of_its_subtype(seed: int) -> None:
    canvas = round_head(seed)
    clot = intraventricular(canvas)
    assert clot is not None
    assert not bool((clot.share > 0)[canvas.ventricle == 0].any())
    canvas = round_head(seed)
    clot = subarachnoid(canvas)
    assert clot is not None
    assert not bool((clot.share > 0)[canvas.csf == 0].any())
    canvas = round_head(seed)
    clot = subdural(canvas)
    assert clot is not None
    outside = canvas.depth_mm < -1
    assert not bool((clot.share > 0)[outside].any())
    # The falx holds a subdural on its side.
    columns = clot.share[1].sum(dim=0)
    left, right = float(columns[: SIZE // 2 - 2].sum()), float(columns[SIZE // 2 + 2 :].sum())
    assert min(left, right) == 0.0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("painter", [subdural, epidural])
def test_a_clot_on_the_table_pushes_brain_inwards_but_no_bone(
    painter: Callable[[Canvas], Clot | None], seed: int
) -> None:
    canvas = round_head(seed)
    before = canvas.csf.clone()
    clot = painter(canvas)
    assert clot is not None
    deep = canvas.depth_mm > 3.6
    assert float(canvas.hu[deep].max()) <= BRAIN_HU + 5
    if float(clot.share[1].sum()) * PIXEL_MM**2 > 300:
        depth = canvas.depth_mm[1]
        moved = float((canvas.csf[1] * depth).sum() / canvas.csf[1].sum())
        assert moved > float((before[1] * depth).sum() / before[1].sum())


def test_an_epidural_is_a_lens_whose_thickness_falls_from_its_middle() -> None:
    for seed in range(20):
        canvas = round_head(seed, step_mm=0.0)
        clot = epidural(canvas)
        assert clot is not None
        inside = (clot.share[1] > 0.5).numpy()
        if inside.sum() * PIXEL_MM**2 < 300:
            continue
        rows, columns = np.nonzero(inside)
        angles = np.arctan2(rows - (SIZE - 1) / 2, columns - (SIZE - 1) / 2)
        middle = np.angle(np.exp(1j * angles).mean())
        off = np.abs(np.angle(np.exp(1j * (angles - middle))))
        depths = canvas.depth_mm[1].numpy()[inside]
        reach = off.max()
        near, far = depths[off < 0.3 * reach].max(), depths[off > 0.8 * reach].max()
        assert near > far + 1


def test_a_single_slice_is_painted_alike_in_all_three_places() -> None:
    painted = paint(round_head(3, step_mm=0.0), ("EDH",))
    # Without a step only the small differences of the chance fields remain.
    different = (painted.hu[0] - painted.hu[1]).abs() > 25
    assert float(different.float().mean()) < 0.02


def test_a_head_without_ventricles_or_with_little_inside_gets_no_label_for_them() -> None:
    canvas = round_head(1)
    canvas.ventricle = torch.zeros_like(canvas.ventricle)
    painted = paint(canvas, ("IVH",))
    assert painted.target.sum() == 0
    assert painted.known.all()
    canvas = round_head(1)
    canvas.depth_mm = canvas.depth_mm - 60
    painted = paint(canvas, ("SDH", "EDH"))
    assert painted.target.sum() == 0
    assert painted.known.all()


def test_the_depth_of_a_small_section_is_brighter_than_that_of_a_large_one() -> None:
    changes = {}
    for pixel_mm in (0.8, PIXEL_MM):
        found = []
        for seed in range(30):
            canvas = round_head(seed)
            canvas.depth_mm, canvas.pixel_mm = canvas.depth_mm * pixel_mm / PIXEL_MM, pixel_mm
            deep = canvas.depth_mm[1] > 0.35 * INNER_MM * pixel_mm / PIXEL_MM
            before = canvas.hu.clone()
            brighten_rim(canvas)
            found.append(float((canvas.hu - before)[1][deep].mean()))
        changes[pixel_mm] = found
    assert np.mean(changes[0.8]) > np.mean(changes[PIXEL_MM]) + 3
    assert max(changes[0.8]) < 30


def test_a_rough_field_is_the_interpolation_of_its_knots() -> None:
    canvas = round_head(5)
    field = canvas.rough(20.0, own=0.3)
    chance = torch.Generator().manual_seed(5)
    knots = math.ceil(SIZE * PIXEL_MM / 20.0) + 3
    common, apart = (torch.randn(count, 1, knots, knots, generator=chance) for count in (1, 3))
    coarse = math.sqrt(0.7) * common + math.sqrt(0.3) * apart
    whole = functional.interpolate(coarse, (SIZE + 16, SIZE + 16), mode="bicubic", align_corners=False)[:, 0] * 1.4
    top, left = (int(16 * float(torch.rand((), generator=chance))) for _ in range(2))
    assert torch.allclose(field, whole[:, top : top + SIZE, left : left + SIZE], atol=1e-5)


def test_smoothing_takes_the_mean_over_a_square() -> None:
    fields = torch.rand(3, 20, 17)
    expected = functional.avg_pool2d(fields[:, None], 5, 1, 2)[:, 0]
    assert torch.allclose(smoothed(fields, 5), expected, atol=1e-6)
