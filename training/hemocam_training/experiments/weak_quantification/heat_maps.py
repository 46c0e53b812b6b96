"""How a heat map looks where nothing but its grain is asked: the ablation of the consistency loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def grain(heat_map: NDArray[np.floating]) -> float:
    """Share of a map's variance that lies within blocks of 2 × 2 cells; NaN for a constant map.

    Without the consistency loss the paper describes heat maps with a grid-like pattern: neighbouring cells, which come
    from one cell of the coarser scale, take turns. This share is 0 where blocks are even, 1 for a checkerboard, 3/4
    for independent noise, and small for a smooth map.

    >>> checkerboard = np.indices((4, 4)).sum(axis=0) % 2
    >>> grain(checkerboard.astype(float)), grain(np.kron(np.eye(2), np.ones((2, 2))))
    (1.0, 0.0)
    """
    values = np.asarray(heat_map, float)
    rows, columns = (2 * (length // 2) for length in values.shape)
    blocks = values[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2)
    total = blocks.var()
    return float(blocks.var(axis=(1, 3)).mean() / total) if total > 0 else float("nan")
