"""One call from a finished run to its DICOM objects."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from HemoCAMLib.ct import ScanWarning
from HemoCAMLib.ct.reader import quiet_pydicom
from HemoCAMLib.errors import HemoCAMError, UsageError, out_of_memory
from HemoCAMLib.export.headers import broken_header, fresh_uid
from HemoCAMLib.export.origin import Origin
from HemoCAMLib.export.parametric_map import build_map
from HemoCAMLib.export.segmentation import build_segmentation, find_segments
from HemoCAMLib.export.source import SourceSeries, damaged_run, open_source
from HemoCAMLib.export.structured_report import build_report
from HemoCAMLib.model import find_model
from HemoCAMLib.run.folder import RunFolder
from HemoCAMLib.run.result import Result
from HemoCAMLib.subtypes import SUBTYPES

SEGMENTATION_NAME, REPORT_NAME = "seg.dcm", "sr.dcm"


@dataclass(frozen=True)
class ExportedFiles:
    """What an export wrote.

    Attributes:
        report: ``sr.dcm``.
        segmentation: ``seg.dcm``, None where no hemorrhage was found: a segmentation needs a segment.
        maps: ``map-IPH.dcm`` and so on by subtype name; empty unless heat maps were asked for.
        notices: what had to be completed, left empty or left out; nothing here names a patient.
    """

    report: Path
    segmentation: Path | None = None
    maps: dict[str, Path] = field(default_factory=dict)
    notices: tuple[ScanWarning, ...] = ()


def export_dicom(
    run: str | os.PathLike[str],
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    heat_maps: bool = False,
    *,
    overwrite: bool = False,
) -> ExportedFiles:
    """Writes a finished run as DICOM: segmentation, structured report and, where asked for, activation maps.

    Patient and study attributes are copied from the original files into the objects and nowhere else. All objects
    are made before the first is written, so a refusal leaves no file behind.

    Args:
        run: run folder of an analysis that was made from DICOM.
        source: folder or file with the very series that was analysed.
        out: folder for the objects, made if absent.
        heat_maps: write the activation map of every subtype that the model knows.
        overwrite: replace a former export in ``out``.

    Raises:
        UsageError: ``USAGE_NOT_DICOM``, the run was not made from DICOM; ``USAGE_OUT_IN_USE``, ``USAGE_OUT``;
            ``USAGE_NO_HIGHDICOM``, the package that writes DICOM is missing.
        InputRefused: ``CT_OTHER_SERIES``, the source is not what was analysed; ``CT_NO_IDENTIFIERS``,
            ``CT_NO_POSITIONS``, ``CT_HEADER``, ``CT_SEVERAL_FILES``, no object can refer to its files.
        WorkerFailed: ``WORKER_INCOMPLETE``, ``WORKER_SCHEMA``, ``WORKER_RUN_DAMAGED``, the run is not usable.
    """
    result = Result.load(Path(run))
    folder = Path(out)
    _check_free(folder, overwrite)
    _require_highdicom()
    series = open_source(result, source)
    with _quiet():
        try:
            objects, notices = _build(result, series, heat_maps)
        except HemoCAMError:
            raise
        except MemoryError:
            raise out_of_memory() from None
        except Exception as error:  # highdicom raises many kinds on odd headers; their text may hold a patient's
            raise broken_header(error) from None
        _write(folder, objects)
    maps = {name: folder / _map_name(name) for name in _subtypes_of(objects)}
    return ExportedFiles(
        folder / REPORT_NAME,
        folder / SEGMENTATION_NAME if SEGMENTATION_NAME in objects else None,
        maps,
        (*series.notices, *notices),
    )


def _build(result: Result, source: SourceSeries, heat_maps: bool) -> tuple[dict[str, Dataset], list[ScanWarning]]:
    """Every object by its file name."""
    origin, notices = Origin.of(result), []
    segments = find_segments(source)
    objects: dict[str, Dataset] = {}
    segmentation = None
    if segments:
        segmentation = objects[SEGMENTATION_NAME] = build_segmentation(source, segments, origin)
    else:
        notices.append(
            ScanWarning(
                "EXPORT_NO_SEGMENT",
                "No hemorrhage was found, so there is no segmentation object; the report says so.",
            )
        )
    if any(segment.subtype.region is None for segment in segments):
        notices.append(
            ScanWarning(
                "EXPORT_NO_REGION",
                "The segment of the epidural hematoma has no anatomic region: no verified code for it is known.",
            )
        )
    objects[REPORT_NAME] = build_report(result, source, segments, segmentation, origin)
    if heat_maps:
        classes, series_uid = _classes(result), fresh_uid()
        activation = _activation(result, (len(classes), source.ct.shape[0]))
        for number, subtype in enumerate((one for one in SUBTYPES if one.name in classes), start=1):
            values = activation[classes.index(subtype.name)]
            objects[_map_name(subtype.name)] = build_map(source, subtype, values, origin, series_uid, number)
    return objects, notices


def _activation(result: Result, shape: tuple[int, int]) -> NDArray[np.float16]:
    """The run's maps [class, slice, rows, columns], if they are there."""
    try:
        activation = result.activation
    except (OSError, ValueError, EOFError):
        raise damaged_run("The activation maps of this run are missing or cannot be read.") from None
    if activation.ndim != 4 or activation.shape[:2] != shape:
        raise damaged_run("The activation maps of this run do not fit its scan.")
    return activation


def _classes(result: Result) -> list[str]:
    """The model's class order, from the run or, for a run that does not tell it, from the model itself."""
    named = result.fields["model"].get("classes")
    if named:
        return [str(name) for name in named]
    metadata = find_model(RunFolder(result.folder).read_job().model).metadata
    if metadata.weights_sha256 != result.fields["model"]["checksum"]:
        raise damaged_run("The model that made this run is no longer there, so its maps cannot be told apart.")
    return list(metadata.subtypes)


def _map_name(subtype: str) -> str:
    return f"map-{subtype}.dcm"


def _subtypes_of(objects: dict[str, Dataset]) -> list[str]:
    return [subtype.name for subtype in SUBTYPES if _map_name(subtype.name) in objects]


def _own_names() -> list[str]:
    return [SEGMENTATION_NAME, REPORT_NAME, *(_map_name(subtype.name) for subtype in SUBTYPES)]


def _check_free(folder: Path, overwrite: bool) -> None:
    if not overwrite and any((folder / name).exists() for name in _own_names()):
        raise UsageError(
            "USAGE_OUT_IN_USE",
            "The output folder holds another export already.",
            "Choose an empty folder, or allow overwriting.",
        )


def _write(folder: Path, objects: dict[str, Dataset]) -> None:
    """Writes every object under a temporary name first, then removes the former export and puts the new in place."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in objects.items():
            temporary = folder / f"{name}.tmp"
            written.append(temporary)
            content.save_as(temporary, enforce_file_format=True)
        for name in _own_names():
            (folder / name).unlink(missing_ok=True)
        for name in objects:
            (folder / f"{name}.tmp").replace(folder / name)
    except OSError as error:
        raise UsageError(
            "USAGE_OUT",
            "The output folder cannot be written.",
            "Choose a folder on a disk with room.",
            str(error.strerror),
        ) from None
    except Exception as error:  # pydicom validates values while writing; its text may hold a patient's
        raise broken_header(error) from None
    finally:
        for temporary in written:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _require_highdicom() -> None:
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "USAGE_NO_HIGHDICOM",
            "Writing DICOM results needs the Python package highdicom.",
            "Install it with: pip install highdicom",
            str(error),
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences pydicom and highdicom, which put values of headers into warnings and logs."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with quiet_pydicom():
            yield
    finally:
        logger.setLevel(level)
