"""A finished run as DICOM objects: segmentation, structured report, parametric maps."""

from HemoCAMLib.export.api import ExportedFiles, export_dicom

__all__ = ["ExportedFiles", "export_dicom"]
