"""Where the head of one scan lies in the other: a rigid transform found on bone and soft tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from HemoCAMLib.ct import AIR_HU, HeadCT
from HemoCAMLib.errors import InputRefused
from HemoCAMLib.followup.sampling import Points, TrueSampler

#: Grid on which scans are aligned; a follow-up is read to a few millimetres, and volumes do not depend on it.
GRID_MM = 2.5

#: Densities beyond these say nothing about where the head lies.
SHOWN_HU = (-300.0, 700.0)

#: A bone voxel of the grid.
BONE_HU = 250.0

#: Skulls of one patient overlap better than this once they are aligned, those of two patients do not.
SMALLEST_OVERLAP = 0.55

#: A head is looked for among these turns about its long axis before the fine search, degrees.
FIRST_TURNS_DEG = (-25.0, 0.0, 25.0)


@dataclass(frozen=True, eq=False)
class Alignment:
    """A rigid motion from the first scan's space to the second's.

    Attributes:
        matrix: [4, 4], takes LPS points of the first scan to LPS points of the second.
        rotation_deg: angle of the rotation.
        shift_mm: how far the centre of the first head moves.
        skull_overlap: Dice of the two skulls after alignment, where both scans have a slice.
    """

    matrix: NDArray[np.float64]
    rotation_deg: float
    shift_mm: float
    skull_overlap: float

    def to_second(self, points_lps_mm: Points) -> Points:
        """[..., 3] points of the first scan where the second shows them."""
        moved: Points = points_lps_mm @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return moved

    def to_first(self, points_lps_mm: Points) -> Points:
        """The inverse of :meth:`to_second`."""
        moved: Points = (points_lps_mm - self.matrix[:3, 3]) @ self.matrix[:3, :3]
        return moved


def align(first: HeadCT, second: HeadCT) -> Alignment:
    """Finds the rigid transform between two scans of one head.

    Mattes mutual information on a 2.5 mm grid made from true slice positions, three starting angles, then three
    resolutions, in SimpleITK's registration framework; the same input gives the same result to a micrometre.

    Raises:
        InputRefused: ``CT_NOT_ALIGNED``, the heads do not fit: another patient, or too little in common.
    """
    fixed, moving = _on_grid(first), _on_grid(second)
    start = _best_start(fixed, moving)
    transform = _refined(fixed, moving, start)
    overlap = _skull_overlap(fixed, moving, transform)
    if overlap < SMALLEST_OVERLAP:
        raise InputRefused(
            "CT_NOT_ALIGNED",
            "The two scans could not be laid over each other.",
            "Check that both show the same patient's head and overlap by several centimetres.",
            f"skull overlap {overlap:.2f}",
        )
    matrix = _matrix(transform)
    center = np.array(fixed.TransformContinuousIndexToPhysicalPoint([size / 2 for size in fixed.GetSize()]))
    angle = np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)))
    shift = float(np.linalg.norm(matrix[:3, :3] @ center + matrix[:3, 3] - center))
    return Alignment(matrix, float(angle), shift, overlap)


def _on_grid(ct: HeadCT) -> sitk.Image:
    """The scan on an orthogonal grid along the patient's axes."""
    reduction = max(1, round(GRID_MM / max(ct.geometry.pixel_spacing_mm)))
    small = np.stack([_reduced(ct.slices[index], reduction) for index in range(ct.shape[0])])
    low, high = _bounds(ct)
    axes = [np.arange(low[axis], high[axis] + GRID_MM / 2, GRID_MM) for axis in range(3)]
    points = np.stack(np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")[::-1], axis=-1)
    values = TrueSampler(small, ct.geometry, reduction).linear(points, outside=AIR_HU)
    image = sitk.GetImageFromArray(np.clip(values, *SHOWN_HU))
    image.SetSpacing((GRID_MM,) * 3)
    image.SetOrigin(tuple(float(axis[0]) for axis in axes))
    return image


def _reduced(hu: NDArray[np.int16], reduction: int) -> NDArray[np.float32]:
    rows, columns = (size // reduction for size in hu.shape)
    cropped = hu[: rows * reduction, : columns * reduction].astype(np.float32)
    mean: NDArray[np.float32] = cropped.reshape(rows, reduction, columns, reduction).mean(axis=(1, 3))
    return mean


def _bounds(ct: HeadCT) -> tuple[Points, Points]:
    """Smallest and largest LPS coordinates of the scan's corners."""
    geometry, (_, rows, columns) = ct.geometry, ct.shape
    down = geometry.column_direction * geometry.pixel_spacing_mm[0] * (rows - 1)
    across = geometry.row_direction * geometry.pixel_spacing_mm[1] * (columns - 1)
    corners = geometry.positions_mm[[0, -1], None, :] + np.stack([0 * down, down, across, down + across])
    flat = corners.reshape(-1, 3)
    return flat.min(axis=0), flat.max(axis=0)


def _best_start(fixed: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    """Heads laid on one another by their centres of mass, turned as fits best."""
    initial = sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(
            _head(fixed), _head(moving), sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    candidates = []
    for turn_deg in FIRST_TURNS_DEG:
        candidate = sitk.Euler3DTransform(initial)
        candidate.SetRotation(0.0, 0.0, float(np.radians(turn_deg)))
        candidates.append(_searched(fixed, moving, candidate, [Level(8, 8.0, 1.0)]))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _refined(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    return _searched(fixed, moving, start, [Level(4, 4.0, 0.5), Level(2, 2.0, 0.2), Level(1, 1.0, 0.04)])[1]


@dataclass(frozen=True)
class Level:
    """One resolution of the search.

    Attributes:
        shrink: voxels of the grid along the edge of one voxel.
        sigma_mm: smoothing.
        share: of the voxels, drawn at random with a fixed seed.
    """

    shrink: int
    sigma_mm: float
    share: float


def _searched(
    fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform, levels: list[Level]
) -> tuple[float, sitk.Euler3DTransform]:
    """The metric where the search from a start ends, the smaller the better, and the transform there."""
    transform = sitk.Euler3DTransform(start)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(40)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([level.share for level in levels], 20261121)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([level.shrink for level in levels])
    method.SetSmoothingSigmasPerLevel([level.sigma_mm for level in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=60, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    # The order in which threads add up would change where the search ends from run to run.
    method.SetNumberOfThreads(1)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return method.GetMetricValue(), transform


def _head(image: sitk.Image) -> Any:
    return sitk.Cast(sitk.BinaryThreshold(image, -250, 1e4), sitk.sitkFloat32)


def _skull_overlap(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> float:
    """Dice of bone where the moved scan has values."""
    outside = SHOWN_HU[0] - 100
    moved = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, outside))
    both = moved > outside + 1
    one, other = (sitk.GetArrayViewFromImage(fixed) > BONE_HU) & both, (moved > BONE_HU) & both
    total = int(one.sum()) + int(other.sum())
    return float(2 * (one & other).sum() / total) if total else 0.0


def _matrix(transform: sitk.Euler3DTransform) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix[:3, 3] = origin
    return matrix
