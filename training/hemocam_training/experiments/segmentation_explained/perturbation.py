"""Deletion and insertion: does the network's answer go when what a map marks goes, and come when it comes?

Petsiuk et al., RISE, BMVC 2018, section 4.3, brought to segmentation: the answer is the mean probability of the class
over the explained pixels. Pixels are taken away from the intact image, or laid on a blurred one, in the order of the
map, and the area under the curve of that answer over the share of pixels is the score: small is good for deletion,
large for insertion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from torch import Tensor

Kind = Literal["deletion", "insertion"]
Order = NDArray[np.int64]

#: Images that go through the network at once.
BATCH = 32


@dataclass(frozen=True, eq=False)
class Perturbation:
    """One curve to be taken.

    Attributes:
        kind: what is done.
        order: flat numbers of the pixels, first those that go or come first; others are left as they begin.
    """

    kind: Kind
    order: Order


@dataclass(frozen=True, eq=False)
class Curve:
    """An answer over the share of pixels that were taken.

    Attributes:
        shares: [node] rising from 0 to 1.
        answers: [node] mean probability over the explained pixels.
    """

    shares: NDArray[np.float64]
    answers: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Under the curve, by the trapezoidal rule.

        >>> Curve(np.array([0.0, 0.25, 1.0]), np.array([1.0, 0.5, 0.0])).area
        0.375
        """
        return float(trapezoid(self.answers, self.shares))

    def at(self, share: float) -> float:
        """The answer once that share was taken, interpolated."""
        return float(np.interp(share, self.shares, self.answers))


def pixel_order(saliency: NDArray[np.float32], within: NDArray[np.bool_], seed: int = 0) -> Order:
    """Flat numbers of the pixels of a region, the highest of the signed map first; chance decides between equals.

    Args:
        saliency, within: [row, column].
        seed: of chance.

    >>> pixel_order(np.array([[0.0, 3.0], [-1.0, 2.0]], np.float32), np.array([[True, True], [True, False]])).tolist()
    [1, 0, 2]
    """
    candidates = np.flatnonzero(within)
    shuffled = np.random.default_rng(seed).permutation(candidates)
    values = saliency.ravel()[shuffled]
    order: Order = shuffled[np.argsort(-values, kind="stable")].astype(np.int64)
    return order


def perturbation_curves(
    answer: Callable[[Tensor], Tensor],
    image: Tensor,
    without: Tensor,
    blurred: Tensor,
    asked: Sequence[Perturbation],
    shares: Sequence[float],
) -> list[Curve]:
    """The curves of one image.

    Args:
        answer: of images [N, C, H, W], one number each; not asked for gradients.
        image: [C, H, W] intact; its channels go and come together.
        without: [C, H, W] what is left where a pixel was deleted.
        blurred: [C, H, W] what insertion begins with.
        asked: which curves.
        shares: rising from 0 to 1, of the pixels in an order; they need not be evenly spaced.

    Returns:
        One a perturbation, in order.
    """
    nodes = np.asarray(shares, float)
    found: list[float] = []
    images = _images(image, without, blurred, asked, nodes)
    with torch.inference_mode():
        while some := list(islice(images, BATCH)):
            found += answer(torch.stack(some)).tolist()
    answers = np.array(found).reshape(len(asked), nodes.size)
    return [Curve(nodes, row) for row in answers]


def _images(
    image: Tensor, without: Tensor, blurred: Tensor, asked: Sequence[Perturbation], shares: NDArray[np.float64]
) -> Iterator[Tensor]:
    for one in asked:
        begin, become = (image, without) if one.kind == "deletion" else (blurred, image)
        counts = np.rint(shares * one.order.size).astype(int)
        for count in counts:
            made = begin.clone()
            taken = torch.from_numpy(one.order[:count])
            made.flatten(1)[:, taken] = become.flatten(1)[:, taken]
            yield made
