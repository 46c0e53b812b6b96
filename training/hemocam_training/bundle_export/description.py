"""What a person says of a model before it is exported, from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hemocam_training.learning.config_file import read_settings

#: Descriptions that come with the package.
SHIPPED = Path(__file__).parent / "descriptions"

_STRICT = ConfigDict(extra="forbid")
_Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, config=_STRICT)
class NetworkDescription:
    """The network of weights that lie alone; a training's own folder tells it.

    Attributes:
        architecture: name of :mod:`HemoCAMLib.model.registry`.
        arguments: of the architecture.
        input_size: rows and columns.
        classes: names in the order of the logits; None for any and the five subtypes.
    """

    architecture: _Text
    input_size: Annotated[int, Field(ge=32, le=2048)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, config=_STRICT)
class Description:
    """A model as its makers describe it.

    Attributes:
        name, version, description, intended_use, authors, copyright, changelog: as in
            :class:`~HemoCAMLib.model.metadata.BundleMetadata`.
        training_data: data sets with ``name`` and ``licence`` each. Phantoms have ``first_seed`` and ``scans``; other
            sets ``dataset``, their name in an index, so that evaluation can refuse what was trained on.
        limits: what is known to go wrong, a sentence each.
        observations: what was seen where too little is at hand to measure, such as on single real scans.
        network: of weights that lie alone.
        window_center_hu, window_width_hu: of the input.
        mean, std: normalisation after the window.
        half: store matrices in half precision.
    """

    name: _Text
    version: _Text
    description: _Text
    intended_use: _Text
    training_data: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    authors: str = ""
    copyright: str = ""
    changelog: dict[str, str] = Field(default_factory=dict)
    limits: tuple[str, ...] = ()
    observations: tuple[str, ...] = ()
    network: NetworkDescription | None = None
    window_center_hu: float = 25.0
    window_width_hu: float = 130.0
    mean: float = 0.0
    std: float = 1.0
    half: bool = True


def read_description(path: Path) -> Description:
    """A description from its file, or by the name of one that comes with the package.

    Raises:
        ConfigRefused: ``TRAIN_CONFIG_*``.
    """
    if not path.suffix and len(path.parts) == 1 and not path.exists():
        path = SHIPPED / f"{path.name}.yaml"
    return read_settings(path, Description)
