"""Three neighbouring slices with what is known of their anatomy, and the chance that paints on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

_AIR_HU = -1000.0
#: Rows and columns that a chance field is made larger, so that its knots do not lie at the same pixels each time.
_SPARE_PX = 16


class Canvas:
    """A slice between its neighbours, to paint on.

    Args:
        hu: [3, H, W] noise-free HU: before, the slice, after.
        depth_mm: [3, H, W] depth below the inner table, negative outside the skull.
        csf: [3, H, W] 0..1 share of sulci, fissures and cisterns.
        ventricle: [3, H, W] 0..1 share of ventricle.
        pixel_mm: spacing of rows and of columns.
        step_mm: from slice to slice; 0 where one slice stands for all three.
        labels: [3, H, W] uint8 of blood that is there already; None where there is none.
        generator: source of chance.

    Attributes:
        x_mm, y_mm: [H, W] place in the slice; y grows towards the back of the head.
        z_mm: [3, 1, 1] place of the slices.
    """

    def __init__(
        self,
        hu: Tensor,
        depth_mm: Tensor,
        csf: Tensor,
        ventricle: Tensor,
        *,
        pixel_mm: float,
        step_mm: float,
        labels: Tensor | None = None,
        generator: torch.Generator,
    ) -> None:
        self.hu, self.depth_mm, self.csf, self.ventricle = hu, depth_mm, csf, ventricle
        self.pixel_mm = pixel_mm
        self.labels = labels
        self._generator = generator
        rows, columns = hu.shape[-2:]
        self.y_mm, self.x_mm = torch.meshgrid(
            torch.arange(rows) * pixel_mm, torch.arange(columns) * pixel_mm, indexing="ij"
        )
        self.z_mm = torch.tensor([-1.0, 0.0, 1.0])[:, None, None] * step_mm

    def uniform(self, low: float, high: float) -> float:
        """A number between the two."""
        return low + float(torch.rand((), generator=self._generator)) * (high - low)

    def normal(self, mean: float, sd: float) -> float:
        """A normally distributed number."""
        return mean + float(torch.randn((), generator=self._generator)) * sd

    def lognormal(self, median: float, sd: float, low: float, high: float) -> float:
        """A log-normally distributed number, cut to a range."""
        return min(high, max(low, math.exp(self.normal(math.log(median), sd))))

    def happens(self, probability: float) -> bool:
        """True that often."""
        return self.uniform(0, 1) < probability

    def pick(self, weights: Sequence[float]) -> int:
        """A place in the list, by weight."""
        return int(torch.multinomial(torch.tensor(weights, dtype=torch.float32), 1, generator=self._generator))

    def sign(self) -> int:
        """One side or the other."""
        return 1 if self.happens(0.5) else -1

    def rough(self, scale_mm: float, own: float = 0.2) -> Tensor:
        """[3, H, W] smooth field of about unit variance, which has its share ``own`` for each slice apart."""
        rows, columns = self.hu.shape[-2:]
        knots = [max(4, math.ceil(size * self.pixel_mm / scale_mm) + 3) for size in (rows, columns)]
        common = torch.randn(1, 1, *knots, generator=self._generator)
        apart = torch.randn(3, 1, *knots, generator=self._generator)
        coarse = math.sqrt(1 - own) * common + math.sqrt(own) * apart
        down, across = (_bicubic(count, size + _SPARE_PX) for count, size in zip(knots, (rows, columns), strict=True))
        # The same as interpolating in the plane, at a tenth of its time.
        field = down @ coarse[:, 0] @ across.T
        top, left = (int(self.uniform(0, _SPARE_PX)) for _ in range(2))
        # Interpolation between the knots takes about half of the variance.
        return field[:, top : top + rows, left : left + columns] * 1.4

    def place(self, weight: Tensor) -> tuple[float, float] | None:
        """(y, x) in mm of a chance point of the slice, by a weight [H, W]; None where it is zero everywhere."""
        block = 4
        coarse = functional.avg_pool2d(weight[None, None], block)[0, 0]
        if float(coarse.sum()) < 1e-3:
            return None
        where = int(torch.multinomial(coarse.flatten(), 1, generator=self._generator))
        row, column = divmod(where, coarse.shape[1])
        return (row + 0.5) * block * self.pixel_mm, (column + 0.5) * block * self.pixel_mm

    def warp(self, y_mm: Tensor, x_mm: Tensor) -> None:
        """Move the tissue: what was at those places [3, H, W] comes here. The skull, and so the depth, stays."""
        rows, columns = self.hu.shape[-2:]
        grid = torch.stack(
            [(x_mm / self.pixel_mm + 0.5) / columns * 2 - 1, (y_mm / self.pixel_mm + 0.5) / rows * 2 - 1], -1
        )
        fields = torch.stack([self.hu - _AIR_HU, self.csf, self.ventricle], 1)
        moved = functional.grid_sample(fields, grid, mode="bilinear", align_corners=False)
        self.hu, self.csf, self.ventricle = moved[:, 0] + _AIR_HU, moved[:, 1], moved[:, 2]

    def mix(self, share: Tensor, hu: Tensor) -> None:
        """Put ``hu`` into the slices by ``share`` (0..1)."""
        self.hu = self.hu + share * (hu - self.hu)


def filled(distance_mm: Tensor, soft_mm: float) -> Tensor:
    """0..1 share of a pixel inside a surface whose edge is that wide; distance negative inside."""
    return (0.5 - distance_mm / soft_mm).clamp(0, 1)


def smoothstep(values: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 at ``low``, 1 at ``high``, a cubic between; falling where ``low`` is above ``high``."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def smoothed(fields: Tensor, pixels: int) -> Tensor:
    """[3, H, W] mean over a square of that odd width; outside the slice is zero."""
    half = pixels // 2
    rows = functional.avg_pool2d(fields[:, None], (pixels, 1), 1, (half, 0))
    return functional.avg_pool2d(rows, (1, pixels), 1, (0, half))[:, 0]


@lru_cache
def _bicubic(knots: int, size: int) -> Tensor:
    """[size, knots] what each knot adds to each place."""
    return functional.interpolate(torch.eye(knots)[None, None], (size, knots), mode="bicubic", align_corners=False)[
        0, 0
    ]


def clot_hu(canvas: Canvas, mean_hu: float, grain_hu: float) -> Tensor:
    """[3, H, W] HU within a clot: grains, and slow changes."""
    return mean_hu + grain_hu * canvas.rough(6, own=0.5) + 2 * canvas.rough(22)
