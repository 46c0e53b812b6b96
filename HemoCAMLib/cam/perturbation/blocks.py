"""Variants of one sample, run a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: Memory that the variants of one block, and what the network makes of them, should stay below.
BLOCK_BYTES = 256 << 20
#: Fewer leave 1×1 convolutions to a slower kernel on one CPU thread. More make values of the network so large (32 MB)
#: that glibc gives each back to the system and asks for it again, which took a third longer per row.
MOST_ROWS = 16


def rows_per_block(bytes_per_row: int, block_bytes: int = BLOCK_BYTES) -> int:
    """Rows that fit, 1 to :data:`MOST_ROWS`; it depends on nothing but one row, so neither do results."""
    return max(1, min(MOST_ROWS, block_bytes // max(1, bytes_per_row)))


def memory_format(like: Tensor) -> torch.memory_format:
    """Channels last where the tensor is, which an expanded copy would lose."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


@torch.no_grad()
def scores_of_variants(
    make: Callable[[Sequence[int]], Tensor], run: Callable[[Tensor], Tensor], count: int, rows: int
) -> Tensor:
    """Scores of all variants of a sample.

    Args:
        make: numbers of variants to what the network takes, [M, ...].
        run: that to scores [M, C].
        count: variants.
        rows: of a block.

    Returns:
        [count, C].
    """
    starts = range(0, count, rows)
    return torch.cat([run(make(range(start, min(start + rows, count)))).detach() for start in starts])


def weighted_sum(weights: Tensor, channels: Tensor) -> Tensor:
    """Σ_k w_kc A_k of one sample: [K, C] and [K, h, w] to [C, h, w]."""
    return (weights.mT.to(channels.dtype) @ channels.flatten(1)).view(-1, *channels.shape[1:])
