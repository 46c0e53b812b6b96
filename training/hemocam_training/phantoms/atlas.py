"""Anatomy of an average head: tissue probabilities and an average CT in MNI space, as fields to warp."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from hemocam_training.errors import DataRefused
from hemocam_training.phantoms.grid import Field

if TYPE_CHECKING:
    import torch

#: Files of https://github.com/neurolabusc/Clinical (Rorden 2012): average CT in Cormack units, tissue probabilities.
ATLAS_FILES = ("scct.nii.gz", "scgrey.nii.gz", "scwhite.nii.gz", "sccsf.nii.gz")

#: From the layout in which bleeds are planned (an adult head of usual size) to MNI, both in mm, x left, y back, z up.
LAYOUT_TO_MNI = 1.06
MNI_ORIGIN_MM = (0.0, 12.0, 5.0)

#: Points along a lateral ventricle in MNI (x, y, z): frontal horn, body, atrium, occipital and temporal horn.
LATERAL_VENTRICLE_MM = (
    ((14, -32, 2), (10, -14, 16), (9, 5, 24), (17, 28, 21), (25, 42, 14), (25, 58, 8), (22, 72, 6)),
    ((25, 42, 10), (35, 30, -8), (34, 12, -18)),
)


class HeadAtlas:
    """Fields of the average head on its own 2 mm grid.

    Channels that do not move with the brain: depth below the inner table (mm, positive inside), depth below the
    skin, Hounsfield units of the average CT. Channels that do: grey and white matter
    probability, CSF outside the ventricles, depth inside the ventricles (mm).

    Made by :func:`load_atlas`.
    """

    def __init__(self, skull: Field, brain: Field, origin_mm: NDArray[np.float64], step_mm: float) -> None:
        # Commands on data sets know the phantoms too, and need no torch.
        import torch

        self._skull, self._brain = torch.from_numpy(skull)[None], torch.from_numpy(brain)[None]
        self._origin_mm, self._step_mm = origin_mm, step_mm

    def skull(self, x: Field, y: Field, z: Field) -> list[Field]:
        """Inner depth, skin depth (mm) and HU at layout coordinates [z, y, x].

        Taken at every second row and column and interpolated: the atlas is no finer.
        """
        coarse = self._sampled(self._skull, *(np.ascontiguousarray(axis[:, ::2, ::2]) for axis in (x, y, z)))
        rows, columns = x.shape[1:]
        if rows % 2 or columns % 2:
            raise ValueError("the grid needs an even number of rows and columns")
        return [_doubled(field) for field in coarse]

    def brain(self, x: Field, y: Field, z: Field) -> list[Field]:
        """Grey, white, outer CSF (0..1) and depth inside the ventricles (mm) at layout coordinates of any shape."""
        return self._sampled(self._brain, x, y, z)

    def _sampled(self, channels: torch.Tensor, *layout_mm: Field) -> list[Field]:
        import torch
        from torch.nn import functional

        shape = layout_mm[0].shape
        size = np.array(channels.shape[:1:-1], np.float64)
        # LPS axes x and z grow with their index in these files, y falls.
        signs = (1.0, -1.0, 1.0)
        places = torch.empty((1, 1, 1, layout_mm[0].size, 3))
        for axis, (values, sign) in enumerate(zip(layout_mm, signs, strict=True)):
            index_per_mm = sign * LAYOUT_TO_MNI / self._step_mm
            at_zero = sign * (MNI_ORIGIN_MM[axis] - self._origin_mm[axis]) / self._step_mm
            scale = 2 / (size[axis] - 1)
            places[..., axis] = torch.from_numpy(values.ravel() * np.float32(index_per_mm * scale))
            places[..., axis] += float(at_zero * scale - 1)
        with torch.inference_mode():
            sampled = functional.grid_sample(channels, places, padding_mode="border", align_corners=True)[0]
        return [channel.reshape(shape) for channel in sampled.numpy()]


def _doubled(field: Field) -> Field:
    """[z, y, x] at every second row and column to all of them, linear between, constant past the last."""
    for axis in (1, 2):
        here = np.moveaxis(field, axis, 0)
        full = np.empty((2 * here.shape[0], *here.shape[1:]), np.float32)
        full[::2] = here
        full[1:-1:2] = (here[:-1] + here[1:]) * np.float32(0.5)
        full[-1] = here[-1]
        field = np.moveaxis(full, 0, axis)
    return np.ascontiguousarray(field)


@lru_cache(maxsize=2)
def load_atlas(folder: Path) -> HeadAtlas:
    """The atlas of a folder with the four files of :data:`ATLAS_FILES`.

    Raises:
        DataRefused: a file is missing (``DATA_MISSING``).
    """
    missing = [name for name in ATLAS_FILES if not (folder / name).is_file()]
    if missing:
        raise DataRefused(
            "DATA_MISSING",
            f"The folder of head templates lacks {', '.join(missing)}.",
            "Give the folder of the CT templates, or none for heads drawn from formulas alone.",
        )
    images = [sitk.ReadImage(str(folder / name)) for name in ATLAS_FILES]
    cormack, grey, white, csf = (sitk.GetArrayFromImage(image).astype(np.float32) for image in images)
    origin, step = np.array(images[0].GetOrigin()), float(images[0].GetSpacing()[0])
    hu = _hounsfield(cormack)
    inner = _intracranial(hu, grey + white + csf)
    head = _largest(hu > -300)
    ventricle, loose = _split_csf(csf, origin, step)
    depth, skin = (_depth_mm(mask, step) for mask in (inner, head))
    # Above the base the inner table is smooth; folds in it are the average's falx.
    height = (np.arange(len(depth)) * step + images[0].GetOrigin()[2])[:, None, None]
    smooth = np.clip((height - 2) / 16, 0, 1)
    depth += smooth * (ndimage.gaussian_filter(depth, 2.5) - depth)
    # The nose and the ears leave the volume; what lies beyond it is air.
    for edge in (np.s_[:, (0, -1)], np.s_[:, :, (0, -1)]):
        depth[edge], skin[edge], hu[edge] = -60.0, -60.0, -1000.0
    skull = np.stack([depth, skin, hu])
    brain = np.stack([grey, white, loose, ventricle])
    return HeadAtlas(skull.astype(np.float32), brain.astype(np.float32), origin, step)


def _hounsfield(cormack: Field) -> Field:
    """Cormack units stretch -100..100 HU elevenfold, so that brain shows contrast."""
    return np.where(cormack < 900, cormack - 1000, np.where(cormack < 3100, (cormack - 900) / 11 - 100, cormack - 3000))


def _intracranial(hu: Field, tissue: Field) -> NDArray[np.bool_]:
    inside = ndimage.binary_opening((tissue > 0.4) & (hu < 230), iterations=3)
    inside = ndimage.binary_dilation(_largest(inside), iterations=2) & (tissue > 0.3) & (hu < 260)
    closed: NDArray[np.bool_] = ndimage.binary_fill_holes(ndimage.binary_closing(_largest(inside), iterations=2))
    return closed


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    numbered, _ = ndimage.label(mask)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    largest: NDArray[np.bool_] = numbered == int(sizes.argmax())
    return largest


def _depth_mm(mask: NDArray[np.bool_], step_mm: float) -> Field:
    """Signed distance, positive inside, zero half-way between voxels; smoothed, so that no steps remain."""
    inside = ndimage.distance_transform_edt(mask) - 0.5
    outside = ndimage.distance_transform_edt(~mask) - 0.5
    distance = np.where(mask, inside, -outside) * step_mm
    return np.asarray(ndimage.gaussian_filter(np.clip(distance, -40, 60), 0.9), np.float32)


def _split_csf(csf: Field, origin_mm: NDArray[np.float64], step_mm: float) -> tuple[Field, Field]:
    """Depth inside the ventricles (mm), and CSF probability elsewhere."""
    z, y, x = (np.arange(size) * step_mm for size in csf.shape)
    x, y, z = np.abs(x + origin_mm[0])[None, None], (origin_mm[1] - y)[None, :, None], (z + origin_mm[2])[:, None, None]
    near = np.full(csf.shape, 99.0)
    for points in LATERAL_VENTRICLE_MM:
        for start, end in pairwise(points):
            near = np.minimum(near, _to_segment((x, y, z), start, end))
    where = near < 9.5
    where |= (x < 5) & (y > -8) & (y < 27) & (z > -10) & (z < 12)
    where |= (np.hypot(x / 14, np.hypot((y - 47) / 12, (z + 35) / 18)) < 1) & (z > -58)
    ventricle = csf * where
    inside = ventricle > 0.5
    depth = _depth_mm(inside, step_mm)
    # Probability tells where between two voxels the border lies.
    border = np.abs(depth) < 2.5
    depth = np.where(border, 0.5 * depth + 2.0 * (ndimage.gaussian_filter(ventricle, 0.5) - 0.5), depth)
    return depth.astype(np.float32), (csf * ~where).astype(np.float32)


def _to_segment(
    point: tuple[NDArray[np.float64], ...], start: tuple[float, ...], end: tuple[float, ...]
) -> NDArray[np.float64]:
    a, b = np.array(start, float), np.array(end, float)
    relative = [axis - origin for axis, origin in zip(point, a, strict=True)]
    axis = b - a
    share = np.clip(sum(r * d for r, d in zip(relative, axis, strict=True)) / (axis @ axis), 0, 1)
    distance: NDArray[np.float64] = np.sqrt(sum((r - share * d) ** 2 for r, d in zip(relative, axis, strict=True)))
    return distance
