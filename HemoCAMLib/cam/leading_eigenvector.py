"""The eigenvector of the largest eigenvalue of a symmetric operator that is known by its product only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Residual, relative to the largest eigenvalue by size, at which the iteration ends.
TOLERANCE = 1e-10
#: Steps after which it ends in any case: what is still mixed then is closer to a double eigenvalue than 0.1 %.
MOST_STEPS = 256
_STEPS_BETWEEN_CHECKS = 6


def leading_eigenvector(product: Callable[[Tensor], Tensor], size: int, device: torch.device) -> tuple[float, Tensor]:
    """Largest eigenvalue (not by size) and its unit eigenvector, whose sign is left open.

    Lanczos with full reorthogonalisation (Golub and Van Loan, Matrix Computations, section 10.3) from a fixed
    start: no decomposition of the whole matrix, no random number, the same bits at each call.

    Args:
        product: v, [size], to M v; M symmetric.
        size: rows of M.
        device: where v lives. In float64; in float32 on MPS, which has no wider type.

    Returns:
        The eigenvalue and the vector [size]; (0, zeros) where M v is 0 for the start vector.
    """
    generator = torch.Generator().manual_seed(0)
    wide = torch.float32 if device.type == "mps" else torch.float64
    tolerance = 1e-5 if device.type == "mps" else TOLERANCE
    steps = min(size, MOST_STEPS)
    basis = torch.empty(steps, size, dtype=wide, device=device)
    start = torch.randn(size, generator=generator, dtype=torch.float64).to(device, wide)
    diagonal: list[float] = []
    beside: list[float] = []
    vector = start / start.norm()
    for step in range(steps):
        basis[step] = vector
        done = basis[: step + 1]
        image = product(vector)
        diagonal.append(float(vector @ image))
        # Twice: once leaves a remainder as large as the rounding of what was taken out.
        for _ in range(2):
            image = image - done.mT @ (done @ image)
        remainder = float(image.norm())
        size_so_far = max(map(abs, diagonal + beside))
        exhausted = remainder <= tolerance * size_so_far or step + 1 == steps
        if exhausted or step % _STEPS_BETWEEN_CHECKS == 0:
            values, vectors = _eigen_tridiagonal(diagonal, beside)
            if exhausted or remainder * abs(float(vectors[-1, -1])) <= tolerance * float(values.abs().max()):
                break
        beside.append(remainder)
        vector = image / remainder
    found = done.mT @ vectors[:, -1].to(device, wide)
    length = float(found.norm())
    return (float(values[-1]), found / length) if size_so_far > 0 else (0.0, torch.zeros_like(start))


def _eigen_tridiagonal(diagonal: list[float], beside: list[float]) -> tuple[Tensor, Tensor]:
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if beside:
        off = torch.tensor(beside, dtype=torch.float64)
        matrix += torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors
