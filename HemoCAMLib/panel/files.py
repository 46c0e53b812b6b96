"""A result as plain files, as it is in the scene now, corrections included. Knows of no widget."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HemoCAMLib.errors import UsageError
from HemoCAMLib.scene import SceneResult, corrected
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.edited import labels_of_members
from HemoCAMLib.scene.volume_grid import RAS_TO_LPS

#: Names of the files that tables become.
TABLE_FILES = {"volumes": "volumes.csv", "slices": "slices.csv", "agreement": "agreement.csv"}


def write_label_map(shown: SceneResult, path: Path) -> None:
    """Writes the segmentation as a label map on the CT's own grid: 1 IPH, 2 IVH, 3 SAH, 4 SDH, 5 EDH.

    Where segments overlap the first of the tables wins.

    Raises:
        UsageError: ``USAGE_OUT``, the file cannot be written.
    """
    placement = shown.placement
    grid = placement.grid
    labels = np.zeros(grid.canonical_shape, np.uint8)
    members = corrected(shown).members
    for place, plane in zip(placement.places.tolist(), members, strict=True):
        if plane.any():
            labels[place] = labels_of_members(plane)
    image = sitk.GetImageFromArray(np.ascontiguousarray(grid.to_stored(labels)))
    to_lps = RAS_TO_LPS @ grid.array_to_frame
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise _not_written(str(error)) from error


def write_tables(shown: SceneResult, folder: Path) -> list[Path]:
    """Writes the tables by subtype and by slice, and the figures of a comparison where there is one, as CSV.

    Raises:
        UsageError: ``USAGE_OUT``, the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for role, name in TABLE_FILES.items():
            for node in shown.nodes(role)[:1]:
                write_table(node, folder / name)
                written.append(folder / name)
    except OSError as error:
        raise _not_written(str(error)) from error
    return written


def write_table(table_node: Node, path: Path) -> None:
    """One table node as CSV, with the titles that carry units."""
    table = table_node.GetTable()
    columns = [table.GetColumn(number) for number in range(table.GetNumberOfColumns())]
    titles = [table_node.GetColumnTitle(column.GetName()) or column.GetName() for column in columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(titles)
        for row in range(table.GetNumberOfRows()):
            writer.writerow([column.GetValue(row) for column in columns])


def _not_written(detail: str) -> UsageError:
    return UsageError("USAGE_OUT", "The file cannot be written.", "Choose a folder on a disk with room.", detail)
