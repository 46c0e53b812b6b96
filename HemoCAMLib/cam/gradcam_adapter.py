"""Any method of the grad-cam library by its name, ``gradcam:ShapleyCAM``: slower, in our interface.

The library runs on a copy of the network that is thrown away afterwards, so none of its hooks can stay behind.
Its maps come slice by slice and class by class, enlarged to the input's size and scaled to 0..1 in each, which
cannot be undone: they are not comparable between slices, and the record says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from HemoCAMLib.cam.layer_pass import CamMethod, LayerPass
from HemoCAMLib.cam.split import frozen_copy
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model import torchvision_guard  # noqa: F401  (grad-cam imports torchvision)

PREFIX = "gradcam:"
SCALING = "per-image-min-max (grad-cam)"


def library_names() -> list[str]:
    """Names of the library's methods, as it exports them.

    Raises:
        UsageError: ``USAGE_CAM_LIBRARY``: it is not installed.
    """
    library = _library()
    from pytorch_grad_cam.base_cam import BaseCAM

    exported = {name: value for name, value in vars(library).items() if inspect.isclass(value)}
    return sorted(name for name, value in exported.items() if issubclass(value, BaseCAM) and value is not BaseCAM)


def library_method(name: str) -> CamMethod:
    """The library's method as a function ``(layer_pass, classes) -> [N, len(classes), H, W]``.

    Args:
        name: ``gradcam:`` and a name of :func:`library_names`; only those are looked up, never a dotted name.

    Raises:
        UsageError: ``USAGE_CAM_METHOD``, ``USAGE_CAM_LIBRARY``.
    """
    plain = name.removeprefix(PREFIX)
    known = library_names()
    if plain not in known:
        near = get_close_matches(plain, known, n=3, cutoff=0.3) or known
        raise UsageError(
            "USAGE_CAM_METHOD",
            f"The grad-cam library has no method {plain[:40]!r}.",
            f"The nearest are {', '.join(PREFIX + other for other in near)}.",
        )

    def method(layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
        return _run(plain, layer_pass, classes)

    return method


def _run(name: str, layer_pass: LayerPass, classes: Sequence[int]) -> Tensor:
    if layer_pass.network is None or layer_pass.stacks is None or layer_pass.logits.dim() != 2:
        raise UsageError(
            "USAGE_CAM_LIBRARY",
            "The grad-cam library's methods need the whole classifying network and its input.",
            "Make the maps through an Explainer of a network that classifies slices.",
        )
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    shape = layer_pass.activations.shape[1:]
    stacks = layer_pass.stacks
    maps = torch.zeros(len(stacks), len(classes), *stacks.shape[-2:], device=stacks.device)
    with torch.inference_mode(False), torch.enable_grad():
        network = frozen_copy(layer_pass.network)
        explain: Any = getattr(_library(), name)(
            network,
            [network.get_submodule(layer_pass.layer)],
            reshape_transform=lambda output: output if output.shape[1:] == shape else output.permute(0, 3, 1, 2),
        )
        try:
            for place, index in enumerate(classes):
                for row in layer_pass.wants(index).nonzero().flatten().tolist():
                    stack = stacks[row : row + 1].clone().requires_grad_(True)
                    found = explain(stack, targets=[ClassifierOutputTarget(index)])
                    maps[row, place] = torch.as_tensor(found[0], dtype=maps.dtype, device=maps.device)
        except (ValueError, TypeError, AttributeError, LookupError, NotImplementedError) as error:
            raise UsageError(
                "USAGE_CAM_LIBRARY",
                f"The method {name} of the grad-cam library does not work on this network and layer.",
                "Choose another method or another layer.",
                f"{type(error).__name__}: {error}"[:300],
            ) from error
        finally:
            explain.activations_and_grads.release()
    return maps


def _library() -> Any:
    try:
        import pytorch_grad_cam
    except ImportError as error:
        raise UsageError(
            "USAGE_CAM_LIBRARY", "The grad-cam library is not installed.", "Install it with: pip install grad-cam"
        ) from error
    return pytorch_grad_cam
