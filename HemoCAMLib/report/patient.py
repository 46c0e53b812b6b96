"""Who was examined: read only for a report that is asked to name the patient."""

from __future__ import annotations

from dataclasses import dataclass

from HemoCAMLib.ct import HeadCT
from HemoCAMLib.errors import UsageError


@dataclass(frozen=True)
class Patient:
    """Identity as the source's header gives it; empty where it gives none (DICOM PS3.3 C.7.1.1, C.7.2.1).

    Attributes:
        name: PatientName, family name first.
        patient_id: PatientID.
        birth_date: PatientBirthDate, YYYYMMDD.
        study_date: StudyDate, YYYYMMDD.
        accession_number: AccessionNumber.
    """

    name: str
    patient_id: str
    birth_date: str
    study_date: str
    accession_number: str

    @classmethod
    def of(cls, ct: HeadCT) -> Patient:
        """The patient of a DICOM scan.

        Raises:
            UsageError: ``USAGE_NOT_DICOM``, the scan has no header that names one.
        """
        from pydicom import dcmread

        if not ct.source.planes:
            raise UsageError(
                "USAGE_NOT_DICOM",
                "This scan was not read from DICOM, so there is no patient to name.",
                "Leave the identified report off.",
            )
        header = dcmread(ct.source.planes[0].path, stop_before_pixels=True, force=True)
        name = header.get("PatientName", "")
        return cls(
            name=" ".join(part for part in str(name).split("^") if part),
            patient_id=str(header.get("PatientID", "") or ""),
            birth_date=str(header.get("PatientBirthDate", "") or ""),
            study_date=str(header.get("StudyDate", "") or ""),
            accession_number=str(header.get("AccessionNumber", "") or ""),
        )
