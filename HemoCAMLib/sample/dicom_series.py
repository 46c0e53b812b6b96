"""Writes a synthetic CT as the DICOM series that a scanner would have sent."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from HemoCAMLib.ct import SliceGeometry

#: Stored value of 0 HU, as most scanners have it.
INTERCEPT_HU = -1024

#: Everything that names the software in the files; fixed, so that the same scan gives the same bytes.
_IMPLEMENTATION = uuid.UUID("6f0c9f1e-5a4b-5d0e-9a57-0d8f3a1c2b41")


def write_ct_series(
    folder: Path, hu: NDArray[np.int16], geometry: SliceGeometry, *, name: str, padding_hu: int | None = None
) -> list[Path]:
    """Writes one CT Image Storage file a slice (DICOM PS3.3 A.3); equal input gives equal bytes.

    Args:
        folder: made if absent; files are called ``0001.dcm`` and so on, from feet to head.
        hu: int16 [slice, row, column].
        geometry: where the slices lie. A tilted one is written as scanners do it: tilted orientation, positions
            that move with the table, and GantryDetectorTilt (PS3.3 C.8.2.1).
        name: of the scan; all unique identifiers are derived from it.
        padding_hu: value outside the round field of view, written as PixelPaddingValue.

    Returns:
        the files in slice order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = _series_attributes(geometry, name, padding_hu)
    paths = []
    for index in range(hu.shape[0]):
        path = folder / f"{index + 1:04d}.dcm"
        dcmwrite(path, _slice(series, hu[index], geometry, index, name), enforce_file_format=True)
        paths.append(path)
    return paths


def _uid(*parts: str) -> str:
    """A unique identifier derived from a name (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_IMPLEMENTATION, '/'.join(parts)).int}"


def _series_attributes(geometry: SliceGeometry, name: str, padding_hu: int | None) -> Dataset:
    """What all slices share."""
    common = Dataset()
    common.SpecificCharacterSet = "ISO_IR 192"
    common.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    common.SyntheticData = "YES"
    common.SOPClassUID = CTImageStorage
    common.StudyDate, common.StudyTime = "20260101", "120000"
    common.SeriesDate, common.SeriesTime = "20260101", "120000"
    common.ContentDate, common.ContentTime = "20260101", "120000"
    common.AccessionNumber = ""
    common.Modality = "CT"
    common.Manufacturer = "HemoCAM"
    common.ManufacturerModelName = "Synthetic phantom"
    common.ReferringPhysicianName = ""
    common.StudyDescription = "HemoCAM sample (synthetic)"
    common.SeriesDescription = "Synthetic head CT, not a patient"
    common.PatientName = "HemoCAM^Sample"
    common.PatientID = "HEMOCAM-SAMPLE"
    common.PatientBirthDate = ""
    common.PatientSex = ""
    common.PatientIdentityRemoved = "YES"
    common.DeidentificationMethod = "Synthetic, no patient exists"
    common.BodyPartExamined = "HEAD"
    common.KVP = "120"
    common.PatientPosition = "HFS"
    common.GantryDetectorTilt = _decimal(geometry.tilt_deg)
    common.StudyInstanceUID = _uid(name, "study")
    common.SeriesInstanceUID = _uid(name, "series")
    common.StudyID = "1"
    common.SeriesNumber = "2"
    common.AcquisitionNumber = "1"
    common.FrameOfReferenceUID = _uid(name, "frame of reference")
    common.PositionReferenceIndicator = ""
    common.ImageOrientationPatient = [_decimal(x) for x in (*geometry.row_direction, *geometry.column_direction)]
    common.PixelSpacing = [_decimal(spacing) for spacing in geometry.pixel_spacing_mm]
    common.SliceThickness = "" if geometry.slice_thickness_mm is None else _decimal(geometry.slice_thickness_mm)
    common.SamplesPerPixel = 1
    common.PhotometricInterpretation = "MONOCHROME2"
    common.BitsAllocated, common.BitsStored, common.HighBit = 16, 16, 15
    common.PixelRepresentation = 1
    if padding_hu is not None:
        common.add_new("PixelPaddingValue", "SS", padding_hu - INTERCEPT_HU)
    common.WindowCenter, common.WindowWidth = "40", "80"
    common.RescaleIntercept, common.RescaleSlope, common.RescaleType = str(INTERCEPT_HU), "1", "HU"
    return common


def _slice(series: Dataset, hu: NDArray[np.int16], geometry: SliceGeometry, index: int, name: str) -> Dataset:
    image = Dataset()
    image.update(series)
    image.SOPInstanceUID = _uid(name, "slice", str(index))
    image.InstanceNumber = str(index + 1)
    image.ImagePositionPatient = [_decimal(coordinate) for coordinate in geometry.positions_mm[index]]
    image.SliceLocation = _decimal(float(geometry.offsets_mm[index]))
    image.Rows, image.Columns = hu.shape
    image.PixelData = (hu.astype(np.int32) - INTERCEPT_HU).astype("<i2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = UID(f"2.25.{_IMPLEMENTATION.int}")
    image.file_meta.ImplementationVersionName = "HEMOCAM"
    return image


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    text = f"{float(value):.10f}".rstrip("0").rstrip(".")
    return text[:16] if text not in ("-0", "") else "0"
