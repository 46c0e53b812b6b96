"""Maps averaged over runs of changed slices, by any method.

Averages are of signed, unscaled maps, so that a run with small values does not weigh as much as one with large
ones; grad-cam's library (``aug_smooth``) scales each run's map to 0..1 before. Each run costs as much as the method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from HemoCAMLib.cam.explainer import ClassMaps, Explainer
from HemoCAMLib.cam.scaling import not_finite, scaled
from HemoCAMLib.errors import UsageError


@dataclass(frozen=True)
class Noise:
    """SmoothGrad (Smilkov et al. 2017, equation 2): Gaussian noise on the slice.

    Each run has one field of noise, the same for every slice of a batch and on every device, so a slice's map
    depends neither on its batch nor on chance.

    Attributes:
        samples: runs.
        sigma: standard deviation, relative to the slice stack's range (largest minus smallest value).
        seed: of the noise.
    """

    samples: int = 16
    sigma: float = 0.1
    seed: int = 0

    def runs(self, stacks: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Changed stacks, and whether they are mirrored."""
        spans = stacks.amax(dim=(1, 2, 3), keepdim=True) - stacks.amin(dim=(1, 2, 3), keepdim=True)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.samples):
            field = torch.randn(stacks.shape[1:], generator=generator).to(stacks.device, stacks.dtype)
            yield stacks + self.sigma * spans * field, False


@dataclass(frozen=True)
class Augmentation:
    """Test-time augmentation: every factor, left as it is and mirrored; by default that of grad-cam's library.

    Attributes:
        factors: the network's input is multiplied by them.
        mirror: also left to right; the map is mirrored back.
    """

    factors: tuple[float, ...] = (0.9, 1.0, 1.1)
    mirror: bool = True

    def runs(self, stacks: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Changed stacks, and whether they are mirrored."""
        for mirrored in (False, True) if self.mirror else (False,):
            for factor in self.factors:
                yield (stacks.flip(-1) if mirrored else stacks) * factor, mirrored


def smooth_maps(
    explainer: Explainer,
    stacks: Tensor,
    method: str,
    classes: Sequence[int] | None = None,
    *,
    over: Noise | Augmentation,
    gates: Sequence[float] | Tensor | None = None,
    positive: bool = False,
    scaling: str | dict[str, Any] = "none",
    **arguments: Any,
) -> ClassMaps:
    """The mean of a method's maps over changed slices.

    Args:
        explainer: the network, cut.
        stacks: [N, 3, H, W].
        method: a name of the registry.
        classes: which, all where None.
        over: which changes.
        gates: as in :meth:`Explanation.maps`; probabilities are those of the unchanged slices.
        positive: keep the positive part of the mean.
        scaling: of the mean.
        arguments: everything else that :meth:`Explanation.maps` takes.

    Returns:
        As :meth:`Explanation.maps`; the record names ``smoothing`` with its settings and number of runs.

    Raises:
        UsageError: ``USAGE_CAM_SMOOTHING``, no run at all; and those of :meth:`Explanation.maps`.

    >>> from HemoCAMLib.model.registry import build_network
    >>> explainer = Explainer(build_network("timm-classifier", {"encoder": "test_resnet"}, 2))
    >>> maps = smooth_maps(explainer, torch.rand(1, 3, 64, 64), "hires-cam", [1], over=Augmentation())
    >>> maps.record["smoothing"]["runs"]
    6
    """
    if gates is not None and not isinstance(gates, Tensor):
        gates = _above(gates, explainer.run(stacks).logits)
    first: ClassMaps | None = None
    total: Tensor | None = None
    runs = 0
    for changed, mirrored in over.runs(stacks):
        found = explainer.run(changed).maps(method, classes, gates=gates, **arguments)
        values = found.values.flip(-1) if mirrored else found.values
        first, total, runs = first or found, values if total is None else total + values, runs + 1
    if first is None or total is None:
        raise UsageError("USAGE_CAM_SMOOTHING", "Smoothing needs at least one run.", "Ask for more samples or factors.")
    mean = total / runs
    mean = mean.clamp_min(0) if positive else mean
    record = first.record | {
        "smoothing": {"over": type(over).__name__.lower(), **asdict(over), "runs": runs},
        "positive": positive,
        "not_finite": not_finite(mean),
    }
    mean, record["scaling"] = scaled(mean, scaling)
    return ClassMaps(mean, record, first.wanted)


def _above(gates: Sequence[float], logits: Tensor) -> Tensor:
    limits = torch.as_tensor(gates, dtype=torch.float32)
    if logits.dim() != 2 or limits.shape != logits.shape[1:]:
        raise UsageError(
            "USAGE_CAM_GATES",
            "The gates do not fit the network's classes.",
            f"Give {logits.shape[1]} probabilities, or a table of slices and classes.",
        )
    return torch.sigmoid(logits.float()).cpu() > limits
