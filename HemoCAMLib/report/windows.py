"""Grey values and colours: CT windows, the ramp of the heat map, pictures inside a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """A display window.

    Attributes:
        name: what radiologists call it.
        center_hu: HU shown as middle grey.
        width_hu: HU from black to white.
    """

    name: str
    center_hu: float
    width_hu: float

    def grey(self, hu: NDArray[np.generic]) -> Grey:
        """Any array of HU to grey values 0-255.

        >>> Window("brain", 40, 80).grey(np.array([0, 40, 80])).tolist()
        [0, 128, 255]
        """
        low = self.center_hu - self.width_hu / 2
        scaled = (np.asarray(hu, np.float32) - np.float32(low)) * np.float32(255 / self.width_hu)
        grey: Grey = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
        return grey


BRAIN = Window("brain window", 40, 80)

#: Wide enough to tell thin blood along the inner table from bone.
SUBDURAL = Window("subdural window", 75, 250)

#: Dark to bright with steadily growing lightness, so that it also reads without colour: violet, red, orange, yellow.
HEAT_STOPS = np.array(
    [(0.0, 40, 11, 84), (0.25, 120, 28, 109), (0.5, 188, 55, 84), (0.75, 237, 105, 37), (1.0, 252, 230, 140)]
)


def heat_colors(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Values 0..1 [...] to colours [..., 3], 0-255."""
    channels = [np.interp(values, HEAT_STOPS[:, 0], HEAT_STOPS[:, channel]) for channel in (1, 2, 3)]
    colors: NDArray[np.float32] = np.stack(channels, axis=-1).astype(np.float32)
    return colors


def data_uri(picture: Rgb, *, quality: int = 88) -> str:
    """An RGB picture [rows, columns, 3] as a JPEG inside a ``data:`` address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
