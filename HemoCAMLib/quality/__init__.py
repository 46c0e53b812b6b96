"""How far a scan is from what a model was trained on, and what speaks against its result, in words. Host side."""

from HemoCAMLib.quality.assess import COMPARED, Assessment, Finding, TrainingRange, assess
from HemoCAMLib.quality.statistics import ScanStatistics, measure_scan

__all__ = ["COMPARED", "Assessment", "Finding", "ScanStatistics", "TrainingRange", "assess", "measure_scan"]
