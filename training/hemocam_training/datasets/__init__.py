"""Published datasets of head CT, each as its authors laid it out, in one shape; their indexes and fingerprints."""

from hemocam_training.datasets.index import ScanIndex
from hemocam_training.datasets.labels import NEGATIVE, UNKNOWN, Labels
from hemocam_training.datasets.preparation import prepare
from hemocam_training.datasets.records import Dataset, Finding, Found, Scan, ScanRecord, SliceRecord
from hemocam_training.datasets.registry import DATASETS, dataset_named

__all__ = [
    "DATASETS",
    "NEGATIVE",
    "UNKNOWN",
    "Dataset",
    "Finding",
    "Found",
    "Labels",
    "Scan",
    "ScanIndex",
    "ScanRecord",
    "SliceRecord",
    "dataset_named",
    "prepare",
]
