"""What the panel and scripts need of the application around them: its database, its folders, its event loop."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import qt
import slicer

from HemoCAMLib.panel.analysis import Analysis
from HemoCAMLib.panel.batch import Batch
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.dicom_files import FileOfUid, instance_uids

#: Setting: where run folders are made.
RUNS_FOLDER = "HemoCAM/RunsFolder"

MODALITY_TAG = "0008,0060"


def file_of_uid() -> FileOfUid | None:
    """The DICOM database's look-up; None where no database is open."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return None
    look_up: FileOfUid = database.fileForInstance
    return look_up


def modality_of(volume_node: Node) -> str:
    """Modality of the series that a volume was loaded from, as the DICOM database knows it; empty where it does not."""
    uids = instance_uids(volume_node)
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None or not database.isOpen:
        return ""
    return str(database.instanceValue(uids[0], MODALITY_TAG) or "")


def runs_folder() -> Path:
    """Where run folders are made: the setting, else “HemoCAM” among the user's documents; a test's own in testing."""
    chosen = str(slicer.util.settingsValue(RUNS_FOLDER, "") or "")
    if chosen:
        return Path(chosen)
    if slicer.app.testingEnabled():
        return Path(str(slicer.app.temporaryPath)) / "HemoCAM"
    documents = str(qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation) or Path.home())
    return Path(documents) / "HemoCAM"


def new_run_folder() -> Path:
    """A path for a new run, not made yet; it names the time and nothing of the patient."""
    return runs_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def wait_for(handle: Analysis | Batch) -> None:
    """Turns the application's event loop until an analysis or a batch is over; windows stay alive meanwhile.

    It also returns where the application is told to quit; the analysis is given up then.
    """
    if handle.finished:
        return
    loop = qt.QEventLoop()
    handle.connect("finished", lambda handle: loop.quit())
    loop.exec_()
    handle.abandon()
