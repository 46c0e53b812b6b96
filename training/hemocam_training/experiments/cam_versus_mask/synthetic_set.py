"""Drawn tumour slices in the layout of Cheng's brain-tumour set, so that the experiment runs where the set is not.

Schematic on purpose: an ellipse of a head with a skull and a noisy brain, and one enhancing tumour whose place, size
and look depend on its kind as they do in the set (a meningioma round and even at the skull, a glioma large and ragged
with a dark core, a pituitary tumour small and central). Good for trying the machinery, and for nothing else.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hemocam_training.datasets.brain_tumour import CATEGORIES

#: Kinds in the shares of the set: 708 meningiomas, 1426 gliomas, 930 pituitary tumours.
_SHARES = {1: 708 / 3064, 2: 1426 / 3064, 3: 930 / 3064}
_FOLDS = 5


def write_synthetic_set(folder: Path, *, patients: int, slices_per_patient: int, size: int, seed: int = 0) -> Path:
    """Writes ``1.mat`` and on, and ``cvind.mat`` with five folds by patient; the same arguments give the same files.

    Args:
        folder: for the files.
        patients: each with one kind of tumour.
        slices_per_patient: slices of it.
        size: rows and columns.
        seed: of everything.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number, folds = 0, []
    dealt = dict.fromkeys(CATEGORIES, 0)
    for patient, kind in enumerate(_kinds(patients)):
        rng = np.random.default_rng([seed, patient])
        fold = dealt[kind] % _FOLDS + 1
        dealt[kind] += 1
        at = rng.uniform(-1, 1, 3)
        for _ in range(slices_per_patient):
            number += 1
            folds.append(fold)
            image, mask = draw_slice(kind, at, size, rng)
            _write_mat(folder / f"{number}.mat", image, mask, kind, f"S{seed:02d}{patient:04d}")
    with h5py.File(folder / "cvind.mat", "w") as file:
        file["cvind"] = np.array(folds, np.float64)[:, None]
    return folder


def draw_slice(
    kind: int, at: NDArray[np.float64], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Image and mask of one slice, [size, size].

    Args:
        kind: 1 meningioma, 2 glioma, 3 pituitary.
        at: three numbers from -1 to 1 that place and size the tumour of one patient.
        size: rows and columns.
        rng: source of chance.
    """
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    texture = _smooth(rng, size, 0.04)
    head = np.hypot(x / 0.72, y / 0.88)
    image = np.where(head < 1, 0.75, 0.02)
    image[(head < 0.94) & (head >= 0.88)] = 0.12
    brain = head < 0.88
    image = np.where(brain, 0.42 + 0.05 * texture, image)
    image[brain & (np.hypot((np.abs(x) - 0.1) / 0.06, (y + 0.05) / 0.24) < 1)] = 0.15
    tumour, value = _tumour(kind, at, x, y, _smooth(rng, size, 0.06), rng)
    tumour &= brain
    image[tumour] = value[tumour]
    image = ndimage.gaussian_filter(image, size / 300) + rng.normal(0, 0.025, image.shape)
    return np.clip(image * 1800, 0, 32767).astype(np.int16), tumour.astype(np.uint8)


def _tumour(
    kind: int,
    at: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    rough: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    shrink = rng.uniform(0.75, 1.0)
    if kind == 1:
        angle, radius = np.pi * at[0], (0.17 + 0.07 * at[1]) * shrink
        centre = 0.58 * np.sin(angle), 0.72 * np.cos(angle)
        far = np.hypot(x - centre[0], y - centre[1]) / radius + 0.06 * rough
        return far < 1, np.full(x.shape, 0.95) + 0.03 * rough
    if kind == 2:
        centre, radius = (0.38 * np.sign(at[0]), 0.4 * at[1]), (0.25 + 0.1 * at[2]) * shrink
        far = np.hypot((x - centre[0]) / 0.9, (y - centre[1]) / 1.1) / radius + 0.22 * rough
        return far < 1, np.where(far > 0.62, 0.88, 0.25) + 0.08 * rough
    centre, radius = (0.05 * at[0], 0.12 + 0.08 * at[1]), (0.085 + 0.03 * at[2]) * shrink
    far = np.hypot(x - centre[0], (y - centre[1]) * 1.15) / radius + 0.05 * rough
    return far < 1, np.full(x.shape, 0.85) + 0.04 * rough


def _smooth(rng: np.random.Generator, size: int, width: float) -> NDArray[np.float64]:
    """[size, size] of unit variance, smooth over a share of the image."""
    field = ndimage.gaussian_filter(rng.normal(0, 1, (size, size)), width * size, mode="wrap")
    found: NDArray[np.float64] = field / field.std()
    return found


def _kinds(patients: int) -> list[int]:
    """Kinds in the set's shares, at least one of each where there are three patients, interleaved."""
    counts = {kind: max(1, round(share * patients)) for kind, share in _SHARES.items()}
    counts[2] += patients - sum(counts.values())
    order = sorted((step / count, kind) for kind, count in counts.items() for step in range(count))
    return [kind for _, kind in order][:patients]


def _write_mat(path: Path, image: NDArray[np.int16], mask: NDArray[np.uint8], kind: int, patient: str) -> None:
    """As MATLAB v7.3 stores the struct: matrices by column, text as numbers of characters."""
    edge = np.argwhere(mask & ~ndimage.binary_erosion(mask)).astype(np.float64)
    with h5py.File(path, "w") as file:
        data = file.create_group("cjdata")
        data.attrs["MATLAB_class"] = np.bytes_("struct")
        letters = data.create_dataset("PID", data=np.array([[ord(letter)] for letter in patient], np.uint16))
        letters.attrs["MATLAB_class"] = np.bytes_("char")
        data.create_dataset("label", data=np.array([[float(kind)]]))
        data.create_dataset("image", data=image.T, compression="gzip")
        data.create_dataset("tumorMask", data=mask.T, compression="gzip")
        data.create_dataset("tumorBorder", data=edge.reshape(1, -1))
