"""Where the scans of a batch come from: volumes of the scene, series of the DICOM database."""

from __future__ import annotations

from typing import Any

import slicer

from HemoCAMLib.errors import InputRefused
from HemoCAMLib.panel.application import MODALITY_TAG
from HemoCAMLib.panel.batch import Scan
from HemoCAMLib.scene.bridge import Node
from HemoCAMLib.scene.dicom_files import instance_uids


def scan_of_node(volume_node: Node) -> Scan:
    """A volume of the scene; it may be gone when its turn comes."""
    node_id = volume_node.GetID()
    uids = instance_uids(volume_node)
    return Scan(
        str(volume_node.GetName()),
        lambda: slicer.mrmlScene.GetNodeByID(node_id),
        key=uids[0] if uids else "",
    )


def scan_of_series(series_uid: str, *, keep: bool = True) -> Scan:
    """A series of the open DICOM database, loaded when its turn comes.

    Args:
        series_uid: SeriesInstanceUID.
        keep: leave volume and result in the scene; else both go once the table has the numbers.
    """
    database = slicer.dicomDatabase
    loaded: list[Node] = []

    def load() -> Node:
        from DICOMLib import DICOMUtils

        ids = DICOMUtils.loadSeriesByUID([series_uid])
        nodes = [slicer.mrmlScene.GetNodeByID(node_id) for node_id in ids]
        volumes = [node for node in nodes if node is not None and node.IsA("vtkMRMLScalarVolumeNode")]
        if not volumes:
            raise InputRefused("CT_UNREADABLE", "The series could not be loaded as a volume.", "Choose a head CT.")
        loaded[:] = nodes
        return volumes[0]

    def unload(handle: Any) -> None:
        if handle.shown is not None and handle.shown.is_open:
            handle.shown.remove()
        for node in loaded:
            if node is not None and node.GetScene() is not None:
                node.GetScene().RemoveNode(node)
        loaded.clear()

    name = str(database.descriptionForSeries(series_uid) or "") or "Series"
    return Scan(name, load, series_uid, None if keep else unload)


def ct_series_in_database() -> list[tuple[str, str]]:
    """(series UID, what to call it) of every CT series in the open DICOM database, in the order of patient and study.

    The name is the patient's and the series' own, for the screen alone; empty where no database is open.
    """
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    found = []
    for patient in database.patients():
        for study in database.studiesForPatient(patient):
            for series in database.seriesForStudy(study):
                files = database.filesForSeries(series, 1)
                if files and str(database.fileValue(files[0], MODALITY_TAG)) == "CT":
                    words = (database.nameForPatient(patient), database.descriptionForSeries(series))
                    found.append((str(series), ", ".join(str(word) for word in words if word)))
    return found
