"""Makes torchvision importable where its compiled part does not fit the installed torch.

torchvision's compiled part is linked against one build of torch. Beside another build (a CPU-only torch with
the public registry's torchvision, say) it cannot be loaded, and ``import torchvision`` then ends in
``RuntimeError: operator torchvision::nms does not exist``: it registers a fake kernel for an operator that
nobody defined (pytorch/vision issue 9085). timm and grad-cam import torchvision only for its pure Python
parts, which work once the operators' schemas exist. Import this module before timm.
"""

from __future__ import annotations

import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_MISSING_OPERATOR = "operator torchvision::"

# torch removes a library's operators when its Library object is collected, so it must live as long as torch.
_library: torch.library.Library | None = None


def make_torchvision_importable() -> bool:
    """Import torchvision, with the operators' schemas defined first where its compiled part could not be loaded.

    Returns:
        True if the schemas had to be defined here: detection operators such as NMS are then not available.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails for another reason than its missing operators.
    """
    global _library
    try:
        import torchvision
    except RuntimeError as error:
        if _MISSING_OPERATOR not in str(error) or _library is not None:
            raise
    else:
        return _library is not None
    _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        _library.define(schema)  # type: ignore[no-untyped-call]
    # The failed import left half of the package behind; a second import must start afresh.
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]
    import torchvision  # noqa: F401

    return True


SCHEMAS_DEFINED_HERE = make_torchvision_importable()
