"""Writes the sample scan and the truth about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from HemoCAMLib.ct import InputGrid, SliceGeometry
from HemoCAMLib.errors import UsageError
from HemoCAMLib.resources import resource_folder
from HemoCAMLib.run.label_file import write_labels_nrrd
from HemoCAMLib.sample.dicom_series import write_ct_series
from HemoCAMLib.sample.recipe import SampleRecipe


@dataclass(frozen=True)
class Sample:
    """The sample on disk.

    Attributes:
        scan: folder of the DICOM series.
        truth: label map on the scan's grid; 0 none, 1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH.
        truth_ml: true millilitres by subtype name.
    """

    scan: Path
    truth: Path
    truth_ml: dict[str, float]


def write_sample(out_dir: str | Path) -> Sample:
    """Writes a synthetic head CT with hemorrhage as a tilted DICOM series, and its truth; always the same bytes.

    Args:
        out_dir: made if absent; gets ``scan/``, ``truth.nrrd`` and ``truth.json``.

    Raises:
        UsageError: the folder cannot be written (``USAGE_OUT``), or holds another scan (``USAGE_OUT_IN_USE``).

    >>> sample = write_sample(getfixture("tmp_path"))
    >>> sorted(path.name for path in sample.scan.parent.iterdir())
    ['scan', 'truth.json', 'truth.nrrd']
    """
    folder = Path(out_dir)
    recipe = SampleRecipe.load(resource_folder("sample"))
    scan, truth = folder / "scan", folder / "truth.nrrd"
    try:
        _refuse_foreign_files(scan, recipe.hu.shape[0])
        write_ct_series(scan, recipe.noisy_hu(), recipe.geometry, name=recipe.name)
        rows, columns = recipe.labels.shape[1:]
        shape = (recipe.labels.shape[0], rows, columns)
        write_labels_nrrd(truth, lambda index: recipe.labels[index], shape, _grid(recipe.geometry))
        fields = {"scan": recipe.name, "synthetic": True, "volume_ml": recipe.truth_ml}
        (folder / "truth.json").write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            "USAGE_OUT", "The output folder cannot be written.", "Choose a folder on a disk with room.", str(error)
        ) from error
    return Sample(scan, truth, recipe.truth_ml)


def _refuse_foreign_files(scan: Path, slice_count: int) -> None:
    """A slice of another scan among ours would make a series of both."""
    ours = {f"{number:04d}.dcm" for number in range(1, slice_count + 1)}
    if scan.is_dir() and any(path.name not in ours for path in scan.iterdir()):
        raise UsageError(
            "USAGE_OUT_IN_USE", "The output folder holds another scan.", "Choose a folder that is new or empty."
        )


def _grid(geometry: SliceGeometry) -> InputGrid:
    """The series' voxel grid: one step between slices, the mean, although the true steps may differ."""
    positions = geometry.positions_mm
    row_mm, column_mm = geometry.pixel_spacing_mm
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    directions = np.stack([geometry.row_direction * column_mm, geometry.column_direction * row_mm, step], axis=1)
    return InputGrid((0, 1, 2), (), positions[0], directions)
