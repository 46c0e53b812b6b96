"""Make the recipe of the sample scan that ships: a noise-free phantom, its truth, and how to add the noise.

    python -m hemocam_training.make_sample --out Resources/sample

``phantom.npz`` holds ``hu`` (int16 [slice, row, column], noise-free) and ``labels`` (uint8, same grid), both cut to
the head's box; ``recipe.json`` holds everything else. The engine reads them without this package.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemocam_training.phantoms import Phantom, make_phantom
from HemoCAMLib.subtypes import SUBTYPE_NAMES

#: A head with a thalamic bleed that broke into the ventricles, and blood in the cisterns; gantry tilt near 15 degrees.
SAMPLE_SEED = 4_000_000
SAMPLE_SUBTYPES = ("IPH", "IVH", "SAH")
AIR_HU = -1000


def find_seed(first: int = SAMPLE_SEED, tries: int = 400) -> int:
    """The first seed whose scan shows what the sample should: clear volumes, 27-34 thick slices, tilt 11-20 degrees."""
    for seed in range(first, first + tries):
        phantom = make_phantom(seed, 64, 64, SAMPLE_SUBTYPES, noise=False)
        geometry = phantom.geometry
        plain = 27 <= geometry.slice_count <= 34 and 11 <= abs(geometry.tilt_deg) <= 20
        if not plain or (geometry.slice_thickness_mm or 0) < 4:
            continue
        volume = phantom.volume_ml
        if 10 <= volume["IPH"] <= 45 and 4 <= volume["IVH"] <= 25 and 4 <= volume["SAH"] <= 30:
            return seed
    raise RuntimeError("no seed gives such a scan")


def head_box(hu: NDArray[np.int16]) -> tuple[slice, slice, slice]:
    """Index box of everything denser than air, two pixels wider in-plane."""
    box = [slice(0, hu.shape[0])]
    for axis in (1, 2):
        used = np.flatnonzero((hu > -500).any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(0, int(used[0]) - 2), int(used[-1]) + 3))
    return box[0], box[1], box[2]


def quietened(hu: NDArray[np.int16]) -> NDArray[np.int16]:
    """HU in steps that compress well where nobody looks: bone and air coarser, -100..150 exact."""
    coarse = (hu // 32) * 32 + 16
    soft = (hu >= -100) & (hu <= 150)
    values = np.where(soft, hu, np.where(hu < -900, AIR_HU, coarse))
    return values.astype(np.int16)


def recipe_of(phantom: Phantom, box: tuple[slice, slice, slice]) -> dict[str, Any]:
    """Everything but the voxels."""
    geometry = phantom.geometry
    return {
        "schema": 1,
        "name": "HemoCAM sample: synthetic head CT with three hemorrhage subtypes",
        "provenance": {
            "generator": "hemocam_training.phantoms.make_phantom",
            "seed": phantom.seed,
            "subtypes": list(SAMPLE_SUBTYPES),
            "licence": "Apache-2.0",
            "patient_data": False,
        },
        "shape": list(phantom.hu.shape),
        "box": {"row": [box[1].start, box[1].stop], "column": [box[2].start, box[2].stop]},
        "outside_hu": AIR_HU,
        "pixel_spacing_mm": list(geometry.pixel_spacing_mm),
        "slice_thickness_mm": geometry.slice_thickness_mm,
        "row_direction_lps": geometry.row_direction.tolist(),
        "column_direction_lps": geometry.column_direction.tolist(),
        "positions_lps_mm": np.round(geometry.positions_mm, 4).tolist(),
        "tilt_deg": round(geometry.tilt_deg, 4),
        "noise": {
            "sd_hu": 3.0,
            "correlation_px": 0.7,
            "seed": phantom.seed,
            "how": "per slice: standard normal (numpy default_rng([seed, slice])) filtered by a Gaussian of "
            "correlation_px (wrapped), scaled to sd_hu; only where hu > -500",
        },
        "truth_ml": {name: round(phantom.volume_ml[name], 3) for name in SUBTYPE_NAMES},
    }


def make_sample(out: Path, seed: int | None = None) -> dict[str, Any]:
    """Write ``phantom.npz`` and ``recipe.json``; the recipe is returned."""
    out.mkdir(parents=True, exist_ok=True)
    phantom = make_phantom(find_seed() if seed is None else seed, subtypes=SAMPLE_SUBTYPES, noise=False)
    hu = np.maximum(phantom.noise_free, -1024)
    box = head_box(hu)
    np.savez_compressed(out / "phantom.npz", hu=quietened(hu[box]), labels=phantom.labels[box])
    recipe = recipe_of(phantom, box)
    (out / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    return recipe


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the recipe of the sample scan that ships")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int)
    chosen = parser.parse_args()
    recipe = make_sample(chosen.out, chosen.seed)
    print(json.dumps({key: recipe[key] for key in ("provenance", "shape", "tilt_deg", "truth_ml")}, indent=1))


if __name__ == "__main__":
    main()
