"""Sections through a head with what is known of its anatomy, with blood or without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemocam_training.phantoms.atlas import load_atlas
from hemocam_training.phantoms.grid import head_grid
from hemocam_training.phantoms.phantom import WARPED_SHARE, draw_head, labelled, scan_head
from hemocam_training.phantoms.plan import HIDDEN_SUBDURAL, choose_subtypes, phantom_generator, plan_clots
from hemocam_training.phantoms.slices import FULL_SIZE, SliceSampler

_DEEPEST_MM = 58.0
_OUTSIDE_MM = -5.0


@dataclass(frozen=True, eq=False)
class Sections:
    """A head.

    Attributes:
        hu: [slice, 512, 512] float32, free of noise.
        depth_mm: [slice, rows, rows] below the inner table of the skull and its base, negative outside.
        csf: [slice, rows, rows] 0..1 share of sulci, fissures and cisterns.
        ventricle: [slice, rows, rows] 0..1 share of ventricle.
        labels: [slice, rows, rows] uint8 of its blood, 0 none.
        pixel_mm: spacing of rows and columns of the four.
        step_mm: slice thickness.
    """

    hu: NDArray[np.float32]
    depth_mm: NDArray[np.float32]
    csf: NDArray[np.float32]
    ventricle: NDArray[np.float32]
    labels: NDArray[np.uint8]
    pixel_mm: float
    step_mm: float


def draw_sections(seed: int, rows: int = 256, *, bleeding: bool = False, templates: Path | None = None) -> Sections:
    """A head, noise-free.

    Args:
        seed: the same seed gives the same head.
        rows: rows and columns of the anatomy's fields; a divisor of 512.
        bleeding: with the blood that the phantom of this seed has, but for subdurals that few readers would see.
        templates: see :func:`hemocam_training.phantoms.make_phantom`.
    """
    rng = phantom_generator(seed)
    clots = plan_clots(rng, choose_subtypes(rng)) if bleeding else []
    clots = [clot for clot in clots if clot.kind != HIDDEN_SUBDURAL]
    grid = head_grid()
    atlas = load_atlas(templates) if templates is not None and rng.random() < WARPED_SHARE else None
    head, shares = draw_head(grid, clots, rng, atlas)
    planes, _, hu = scan_head(grid, head, rng, FULL_SIZE, FULL_SIZE)
    sampler = SliceSampler(grid, planes, rows, rows)
    depth = np.clip(np.minimum(head.depth_mm, head.vault_mm), _OUTSIDE_MM, _DEEPEST_MM)
    return Sections(
        hu,
        sampler(depth, _OUTSIDE_MM),
        np.clip(sampler(head.cisterns, 0.0), 0, 1),
        np.clip(sampler(head.ventricle, 0.0), 0, 1),
        labelled(sampler, shares, (hu.shape[0], rows, rows)),
        planes.geometry.pixel_spacing_mm[0] * FULL_SIZE / rows,
        planes.thickness_mm,
    )
