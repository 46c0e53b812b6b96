"""Heads and what is known of their anatomy, kept on disk: without blood, to be painted on, or with their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemocam_training.errors import DataRefused
from hemocam_training.phantoms.sections import Sections, draw_sections
from hemocam_training.shards.preprocessing import Preprocessing

RECORD = "anatomies.json"
VERSION = 1

#: Depth is stored from this on, in these steps; deeper than the last one makes no difference to any lesion.
_LOWEST_DEPTH_MM, _STEPS_PER_MM = -5.0, 4.0


@dataclass(frozen=True)
class Anatomy:
    """One head.

    Attributes:
        fields: [slice, 4, row, column] uint8: HU, depth, share of CSF, share of ventricle, as stored; a fifth, the
            labels of its blood, where the head has its own.
        pixel_mm: spacing of rows and columns.
        step_mm: from slice to slice.
    """

    fields: NDArray[np.uint8]
    pixel_mm: float
    step_mm: float

    @property
    def bleeds(self) -> bool:
        """Whether it was drawn with blood of its own."""
        return self.fields.shape[1] == 5


def write_anatomies(
    folder: Path,
    first_seed: int,
    count: int,
    *,
    size: int = 256,
    bleeding: bool = False,
    templates: Path | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Draw heads; those that are there already are kept, so a call that was stopped can be repeated.

    Args:
        folder: made if absent.
        first_seed: of the heads.
        count: how many.
        size: rows and columns.
        bleeding: see :func:`hemocam_training.phantoms.sections.draw_sections`.
        templates: see :func:`hemocam_training.phantoms.make_phantom`.
        workers: processes.
        on_progress: told how many are there, of how many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = partial(_write_one, folder, size, bleeding, templates)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(draw, range(first_seed, first_seed + count)), start=1):
            on_progress(done, count)
    record = {"hemocam_anatomies": VERSION, "preprocessing": Preprocessing(size=size).as_dict()}
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def read_anatomies(folder: Path) -> tuple[list[Anatomy], Preprocessing]:
    """Every head of a folder, its pixels mapped into memory, and how its HU are stored.

    Raises:
        DataRefused: ``TRAIN_ANATOMIES``: there is none, or a file cannot be read.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        preprocessing = Preprocessing(**record["preprocessing"])
        heads = [_read_one(path) for path in sorted(folder.glob("*.npy"))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataRefused(
            "TRAIN_ANATOMIES",
            f"{folder.name} holds no heads to paint on, or not all of them can be read.",
            "Make them with hemocam-train anatomies.",
            repr(error),
        ) from error
    if not heads:
        raise DataRefused(
            "TRAIN_ANATOMIES", f"{folder.name} holds no heads.", "Make them with hemocam-train anatomies."
        )
    return heads, preprocessing


def stored_fields(sections: Sections, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """[slice, 4, size, size] as they are kept, labels not among them."""
    hu = np.stack([preprocessing.stored(image) for image in sections.hu])
    depth = np.clip((sections.depth_mm - _LOWEST_DEPTH_MM) * _STEPS_PER_MM, 0, 255)
    shares = [np.clip(share, 0, 1) * 255 for share in (sections.csf, sections.ventricle)]
    return np.stack([hu, *(np.rint(field).astype(np.uint8) for field in (depth, *shares))], axis=1)


def depth_mm(stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stored depth back to mm."""
    depth: NDArray[np.float32] = stored / np.float32(_STEPS_PER_MM) + np.float32(_LOWEST_DEPTH_MM)
    return depth


def _write_one(folder: Path, size: int, bleeding: bool, templates: Path | None, seed: int) -> None:
    target = folder / f"{seed}.npy"
    if target.exists():
        return
    sections = draw_sections(seed, size, bleeding=bleeding, templates=templates)
    fields = stored_fields(sections, Preprocessing(size=size))
    if bleeding:
        fields = np.concatenate([fields, sections.labels[:, None]], axis=1)
    place = {"pixel_mm": sections.pixel_mm, "step_mm": sections.step_mm}
    target.with_suffix(".json").write_text(json.dumps(place), encoding="utf-8")
    partial_file = target.with_suffix(".partial")
    with partial_file.open("wb") as file:
        np.save(file, fields)
    partial_file.rename(target)


def _read_one(path: Path) -> Anatomy:
    fields: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if fields.dtype != np.uint8 or fields.ndim != 4 or fields.shape[1] not in (4, 5):
        raise ValueError(f"{path.name} is no head")
    place = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return Anatomy(fields, float(place["pixel_mm"]), float(place["step_mm"]))
