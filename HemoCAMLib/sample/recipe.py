"""The sample as it ships: a noise-free phantom, its truth, and how the noise is drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from HemoCAMLib.ct import SliceGeometry
from HemoCAMLib.errors import UsageError

#: Version of ``recipe.json``.
RECIPE_SCHEMA = 1

#: Air has no noise: nothing below this HU gets any.
NOISE_ABOVE_HU = -500


@dataclass(frozen=True, eq=False)
class SampleRecipe:
    """What ``recipe.json`` and ``phantom.npz`` hold, on the full grid.

    Attributes:
        hu: int16 [slice, row, column], noise-free.
        labels: uint8 [slice, row, column]; 0 none, else the subtype's label.
        geometry: where the slices lie.
        truth_ml: millilitres by subtype name, by true slice extents.
        name: title of the scan.
        noise_sd_hu: standard deviation of the noise.
        noise_correlation_px: width of the Gaussian that correlates it, standing for the scanner's kernel.
        seed: of the noise.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    geometry: SliceGeometry
    truth_ml: dict[str, float]
    name: str
    noise_sd_hu: float
    noise_correlation_px: float
    seed: int

    @classmethod
    def load(cls, folder: Path) -> SampleRecipe:
        """Reads the recipe from ``Resources/sample``.

        Raises:
            UsageError: it is missing or damaged (``USAGE_INSTALLATION``).
        """
        try:
            fields = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
            with np.load(folder / "phantom.npz", allow_pickle=False) as arrays:
                return cls._from(fields, arrays["hu"], arrays["labels"])
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                "USAGE_INSTALLATION", "The sample scan of this installation is damaged.", "Install HemoCAM again."
            ) from error

    @classmethod
    def _from(cls, fields: dict[str, Any], hu: NDArray[np.int16], labels: NDArray[np.uint8]) -> SampleRecipe:
        if fields["schema"] != RECIPE_SCHEMA:
            raise ValueError(f"recipe of version {fields['schema']}")
        shape = tuple(fields["shape"])
        box = (slice(None), slice(*fields["box"]["row"]), slice(*fields["box"]["column"]))
        whole_hu = np.full(shape, fields["outside_hu"], np.int16)
        whole_labels = np.zeros(shape, np.uint8)
        whole_hu[box], whole_labels[box] = hu, labels
        row_mm, column_mm = fields["pixel_spacing_mm"]
        geometry = SliceGeometry(
            np.array(fields["positions_lps_mm"], dtype=float),
            np.array(fields["row_direction_lps"], dtype=float),
            np.array(fields["column_direction_lps"], dtype=float),
            (float(row_mm), float(column_mm)),
            fields["slice_thickness_mm"],
        )
        noise = fields["noise"]
        return cls(
            whole_hu,
            whole_labels,
            geometry,
            dict(fields["truth_ml"]),
            fields["name"],
            noise["sd_hu"],
            noise["correlation_px"],
            noise["seed"],
        )

    def noisy_hu(self) -> NDArray[np.int16]:
        """int16 [slice, row, column]: the phantom with its noise, the same at every call.

        Each slice's noise is white, drawn from ``default_rng([seed, slice])``, filtered by a Gaussian that wraps
        around, and scaled so that its standard deviation is ``noise_sd_hu``.
        """
        noisy: NDArray[np.int16] = self.hu.copy()
        for index, plane in enumerate(noisy):
            white = np.random.default_rng([self.seed, index]).standard_normal(plane.shape)
            noise = ndimage.gaussian_filter(white, self.noise_correlation_px, mode="wrap")
            noise *= self.noise_sd_hu / noise.std()
            tissue = plane > NOISE_ABOVE_HU
            plane[tissue] += np.rint(noise[tissue]).astype(np.int16)
        return noisy
