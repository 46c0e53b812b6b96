"""A run folder inside the scene: a scene that was saved as one file still knows its maps on another computer."""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from HemoCAMLib.errors import HemoCAMError
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.scene.bridge import Node, voxels_of
from HemoCAMLib.scene.record import write_record
from HemoCAMLib.scene.result_nodes import ResultNodes
from HemoCAMLib.scene.steps import Steps, finish, in_background

#: Role of the text node that holds the archive.
ARCHIVE = "run-archive"

#: What is kept of a run: everything but the scan, which is in the scene itself.
KEPT_FILES = (
    "job.json",
    "state.json",
    "result.json",
    "probabilities.npy",
    "activation.npy",
    "brain.npy",
    "labels.nrrd",
    "events.jsonl",
)

#: Maps of other methods can be large; a run beyond this is not kept in the scene.
LARGEST_BYTES = 200 << 20


def keep_run(shown: ResultNodes) -> bool:
    """Puts the run folder of a complete result into the scene, unless it is there.

    Returns:
        whether it is there now; False where the folder is gone or too large.
    """
    return finish(keep_run_steps(shown))


def keep_run_steps(shown: ResultNodes) -> Steps[bool]:
    """The same in small steps."""
    if not shown.is_open:
        return False
    if shown.nodes(ARCHIVE):
        return True
    folder = shown.find_run_folder()
    if folder is None:
        return False
    text = yield from in_background(packed, folder)
    if not text or not shown.is_open or shown.nodes(ARCHIVE):
        return bool(text) and shown.is_open
    scene = shown.record_node.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", f"{shown.record_node.GetName().removesuffix(' record')} run")
    node.SetDescription("The run folder, so that thresholds can be moved wherever this scene is opened.")
    node.SetText(text)
    shown.adopt(node, ARCHIVE)
    return True


def restore_run(shown: ResultNodes, folder: Path) -> Path | None:
    """The run folder of a result: where it is, or unpacked from the scene.

    Args:
        shown: a complete result.
        folder: where run folders are made.

    Returns:
        None where the scene holds none.
    """
    found = shown.find_run_folder()
    archives = shown.nodes(ARCHIVE)
    if found is not None or not archives:
        return found
    target = Path(folder) / (Path(shown.record.run_folder).name or "run")
    if not unpack(str(archives[0].GetText() or ""), target):
        return None
    _write_scan(target, shown.volume)
    write_record(shown.record_node, replace(shown.record, run_folder=str(target.absolute())))
    return target


def packed(folder: Path) -> str:
    """The files of a run as one text of letters and digits; empty where one is missing or they are too large."""
    buffer = io.BytesIO()
    try:
        paths = [folder / name for name in KEPT_FILES if (folder / name).is_file()]
        if sum(path.stat().st_size for path in paths) > LARGEST_BYTES or not (folder / "result.json").is_file():
            return ""
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in paths:
                archive.write(path, path.name)
    except OSError:
        return ""
    return base64.b64encode(buffer.getbuffer()).decode("ascii")


def unpack(text: str, folder: Path) -> bool:
    """Writes the files of :func:`packed` into a folder; False where the text is damaged.

    Nothing but the files of a run is written, whatever else the text holds.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(text, validate=True))) as archive:
            held = [entry for entry in archive.infolist() if entry.filename in KEPT_FILES]
            if sum(entry.file_size for entry in held) > LARGEST_BYTES:
                return False
            folder.mkdir(parents=True, exist_ok=True)
            # Last, as in a run: where it is, the run is complete.
            for entry in sorted(held, key=lambda entry: entry.filename == "result.json"):
                (folder / entry.filename).write_bytes(archive.read(entry))
    except (OSError, ValueError, binascii.Error, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return False
    return (folder / "result.json").is_file()


def _write_scan(folder: Path, volume_node: Node) -> None:
    """The scan of a run that was made from voxels; one from files has their address only."""
    run = RunFolder(folder)
    try:
        made_from_voxels = run.read_job().ijk_to_ras is not None
    except HemoCAMError:
        return
    if made_from_voxels and volume_node.GetImageData() is not None:
        np.save(run.input_array_path, voxels_of(volume_node.GetImageData()), allow_pickle=False)
