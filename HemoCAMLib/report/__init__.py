"""A finished run as a page that a radiologist can read, on screen, on paper and as PDF. Host side."""

from HemoCAMLib.report.page import ReportOptions, write_report

__all__ = ["ReportOptions", "write_report"]
