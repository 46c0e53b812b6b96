"""Batch normalisation folded into the convolutions before it: the same network in evaluation mode, with less to do."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from HemoCAMLib.model.lse_unet import LseUNet
from HemoCAMLib.model.pooled_classifier import PooledClassifier
from HemoCAMLib.model.timm_classifier import TimmClassifier

Foldable = LseUNet | TimmClassifier | PooledClassifier

#: Largest change of the activations, relative to the largest of them, that folding may make. Rounding alone makes 3e-5
#: in EfficientNetV2-S, folded or not; a normalisation that was folded wrongly changes them altogether.
TOLERANCE = 1e-4


@torch.no_grad()
def folded(network: Foldable, sample: Tensor) -> tuple[Foldable, int]:
    """A copy of the network with each convolution's batch normalisation folded into it.

    Which normalisation follows which convolution is seen by running the network once. The copy's activations
    are then compared with the network's own on the same sample: where they differ (a convolution whose output
    something else also uses), the network itself is given back.

    Args:
        network: in evaluation mode, float32.
        sample: slice stacks [N, 3, H, W] of any content that is not constant.

    Returns:
        The network to use and how many normalisations were folded; 0 where nothing could be.
    """
    candidate = copy.deepcopy(network)
    pairs = _convolution_before(candidate, sample)
    modules = dict(candidate.named_modules())
    for normalisation_name, convolution_name in pairs.items():
        convolution, normalisation = modules[convolution_name], modules[normalisation_name]
        # In float64, so that the product of two roundings does not add to the difference.
        fused = fuse_conv_bn_eval(convolution.double(), normalisation.double()).float()
        _replace(candidate, convolution_name, fused)
        _replace(candidate, normalisation_name, _what_follows(normalisation))
    before, after = network.trunk(sample), candidate.trunk(sample)
    agree = float((before - after).abs().max()) <= TOLERANCE * float(before.abs().max())
    return (candidate, len(pairs)) if pairs and agree else (network, 0)


def _convolution_before(network: nn.Module, sample: Tensor) -> dict[str, str]:
    """Names of normalisations whose input is one convolution's output, each of the two run exactly once."""
    made_by: dict[int, str] = {}
    taken_from: dict[str, str] = {}
    runs: dict[str, int] = {}
    alive: list[Tensor] = []
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name = names[module]
        runs[name] = runs.get(name, 0) + 1
        # Kept alive: a freed tensor's identity would be given to another.
        alive.extend((inputs[0], output))
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = name
        elif id(inputs[0]) in made_by:
            taken_from[name] = made_by[id(inputs[0])]

    handles = [module.register_forward_hook(note) for module in names if _is_convolution(module) or _foldable(module)]
    try:
        network.trunk(sample)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    once = {name for name, count in runs.items() if count == 1}
    chosen = {norm: conv for norm, conv in taken_from.items() if {norm, conv} <= once}
    shared = [conv for conv in chosen.values() if list(chosen.values()).count(conv) > 1]
    return {norm: conv for norm, conv in chosen.items() if conv not in shared}


def _is_convolution(module: nn.Module) -> bool:
    # Exactly this class: a subclass (standardised weights, say) computes something else from its parameters.
    return type(module) is nn.Conv2d


def _foldable(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.weight is not None


def _what_follows(normalisation: nn.Module) -> nn.Module:
    """timm's normalisations carry a drop and an activation with them, which stay."""
    rest = [getattr(normalisation, name) for name in ("drop", "act") if hasattr(normalisation, name)]
    return nn.Sequential(*rest)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
