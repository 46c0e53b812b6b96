"""A network that gives a class to each pixel: MONAI's U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from HemoCAMLib.errors import ModelRefused


class SegmentationUNet(nn.Module):
    """``monai.networks.nets.UNet`` in two dimensions, halving the size between levels.

    Its logits are [N, C, H, W]. It is for activation maps of segmentation networks; bundles cannot name it,
    because an analysis needs probabilities of slices.

    Args:
        class_count: C, background included if there is one.
        channels: of the levels, finest first.
        residual_units: convolutions in a level's residual unit, 0 for plain levels.

    Attributes:
        class_count: C.
        map_layers: places for maps: the last feature map before the classes, then each coarser level's, last the
            bottleneck.
        input_multiple: input rows and columns must be multiples of this.

    Raises:
        ModelRefused: ``MODEL_PACKAGE``: MONAI is not installed.
    """

    def __init__(
        self, class_count: int, *, channels: Sequence[int] = (16, 32, 64, 128), residual_units: int = 2
    ) -> None:
        super().__init__()
        try:
            from monai.networks.nets import UNet  # type: ignore[attr-defined]
        except ImportError as error:
            raise ModelRefused(
                "MODEL_PACKAGE",
                "This network needs a package that is not installed.",
                "Install it with: pip install monai",
            ) from error
        self.class_count = class_count
        self.input_multiple = 2 ** (len(channels) - 1)
        steps: Any = (2,) * (len(channels) - 1)
        self.body: nn.Module = UNet(
            2, 3, class_count, tuple(channels), steps, num_res_units=residual_units, norm="BATCH", act="PRELU"
        )
        deeper = [f"body.model.1{'.submodule.1' * level}" for level in range(len(channels) - 1)]
        self.map_layers = (*deeper, f"{deeper[-1]}.submodule")

    def forward(self, stacks: Tensor) -> Tensor:
        """Slice stacks [N, 3, H, W] to logits of each pixel [N, C, H, W]."""
        logits: Tensor = self.body(stacks)
        return logits
