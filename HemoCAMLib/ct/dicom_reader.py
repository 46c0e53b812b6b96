"""DICOM slices to a HeadCT."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from HemoCAMLib.ct.checks import check_head, check_size, check_spacing
from HemoCAMLib.ct.dicom_compressed import unreadable
from HemoCAMLib.ct.dicom_folder import THREADS, FolderContents
from HemoCAMLib.ct.dicom_header import SliceHeader
from HemoCAMLib.ct.dicom_pixels import needs_judgement, read_hu, read_stored
from HemoCAMLib.ct.dicom_series import Choice, choose_series
from HemoCAMLib.ct.dicom_stack import Stack, order_slices
from HemoCAMLib.ct.head_ct import HeadCT, ScanWarning, SourceIdentity, SourcePlane
from HemoCAMLib.ct.orientation import canonical_geometry, reorientation_of
from HemoCAMLib.ct.plane_sink import PlaneSink
from HemoCAMLib.ct.stored_values import Reading, choose_reading, reading_warning
from HemoCAMLib.errors import InputRefused

Progress = Callable[[int, int], None]


def read_dicom(
    contents: FolderContents,
    path: Path,
    *,
    series_uid: str | None,
    allow_gaps: bool,
    store: Path | None,
    on_progress: Progress | None,
) -> HeadCT:
    """The best head CT among the slices found; see :func:`HemoCAMLib.ct.read_head_ct` for the arguments.

    Raises:
        InputRefused: any ``CT_*`` code.
    """
    choice = choose_series(contents.headers, series_uid)
    headers = choice.series.headers
    damaged = _damaged_beside(contents, headers, allow_gaps)
    _check_layout(headers)
    stack = order_slices(headers, read_stored, allow_gaps)
    reading, repaired = _judge_values(stack.headers)
    turn = reorientation_of(stack.grid)
    geometry, grid = canonical_geometry(stack.grid, turn, stack.thickness_mm)
    if not turn.keeps_planes:
        _refuse_uneven(stack)
    check_spacing(geometry, turn.shape(stack.grid.shape))
    sink = PlaneSink(stack.grid.shape, turn, store)
    try:
        _decode_all(stack.headers, reading, sink, on_progress)
        slices = sink.finish()
        check_head(slices, geometry)
    except BaseException:
        sink.discard()
        raise
    return HeadCT(
        slices,
        geometry,
        _identity(stack, choice, path, turn.keeps_planes, 0 in turn.flips),
        grid,
        (*_ignored(contents), *damaged, *choice.warnings, *stack.warnings, *repaired, *_turned(choice)),
    )


def _check_layout(headers: list[SliceHeader]) -> None:
    first = headers[0]
    check_size((len(headers), first.rows, first.columns))
    if first.samples != 1 or first.bits_allocated not in (8, 16, 32):
        raise unreadable(f"{first.samples} samples of {first.bits_allocated} bits a pixel")


def _damaged_beside(contents: FolderContents, headers: list[SliceHeader], allow_gaps: bool) -> tuple[ScanWarning, ...]:
    """A damaged file beside the slices may be one of them, at the end of the scan where no hole would show."""
    folders = {header.path.parent for header in headers}
    used = {id(header) for header in headers}
    left = [one for one in contents.headers if one.series_uid == headers[0].series_uid and id(one) not in used]
    lost = [one for one in left if one.orientation is None and headers[0].orientation is not None]
    count = sum(folder in folders for folder in contents.damaged) + len(lost)
    warnings = []
    if count:
        message = f"{count} DICOM file{'s' if count > 1 else ''} beside the slices of this scan cannot be read."
        if not allow_gaps:
            raise InputRefused(
                "CT_UNREADABLE",
                message,
                "Copy the scan again; remove damaged files or allow gaps if they are not needed.",
            )
        warnings.append(ScanWarning("CT_UNREADABLE_FILES", message))
    others = sum(not one.is_localizer for one in left) - len(lost)
    if others > 0:
        images = "1 image of the same series was" if others == 1 else f"{others} images of the same series were"
        warnings.append(ScanWarning("CT_IMAGES_LEFT_OUT", f"{images} left out: of another kind, size or orientation."))
    return tuple(warnings)


def _judge_values(headers: list[SliceHeader]) -> tuple[Reading, tuple[ScanWarning, ...]]:
    """How stored numbers are to be read, from up to three slices, where headers may be wrong about it."""
    doubtful = [header for header in headers if needs_judgement(header)]
    if not doubtful:
        return Reading.AS_TAGGED, ()
    chosen = sorted({len(doubtful) // 4, len(doubtful) // 2, 3 * len(doubtful) // 4})
    reading = choose_reading([read_stored(doubtful[index])[::2, ::2] for index in chosen])
    return reading, () if reading is Reading.AS_TAGGED else (reading_warning(reading),)


def _refuse_uneven(stack: Stack) -> None:
    """Axial slices that run across stored planes need one spacing."""
    normal = stack.grid.step_k_mm / np.linalg.norm(stack.grid.step_k_mm)
    steps = np.diff(stack.grid.positions_mm @ normal)
    if steps.size and steps.max() - steps.min() > 0.02 * steps.max():
        raise InputRefused(
            "CT_ORIENTATION",
            "This scan is stored as coronal or sagittal images at uneven distances, so it cannot be turned to axial.",
            "Use the original axial series.",
        )


def _decode_all(headers: list[SliceHeader], reading: Reading, sink: PlaneSink, on_progress: Progress | None) -> None:
    def decode(plane: int) -> None:
        sink.put(plane, read_hu(headers[plane], reading))

    total = len(headers)
    if on_progress:
        on_progress(0, total)
    with ThreadPoolExecutor(THREADS) as pool:
        pending: set[Future[None]] = {pool.submit(decode, plane) for plane in range(total)}
        done = 0
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    done += 1
                if on_progress:
                    on_progress(done, total)
        except BaseException:
            for future in pending:
                future.cancel()
            raise


def _identity(stack: Stack, choice: Choice, path: Path, planes_kept: bool, reversed_planes: bool) -> SourceIdentity:
    uids = [header.sop_instance_uid for header in stack.headers]
    if reversed_planes:
        uids.reverse()
    return SourceIdentity(
        kind="dicom",
        path=str(path),
        choice=choice.reason,
        study_instance_uid=choice.series.first.study_uid,
        series_instance_uid=choice.series.uid,
        # Turned slices run across the stored ones: there is no instance per slice then.
        sop_instance_uids=tuple(uids) if planes_kept else (),
        planes=tuple(SourcePlane(header.path, header.frame, header.sop_instance_uid) for header in stack.headers),
    )


def _ignored(contents: FolderContents) -> tuple[ScanWarning, ...]:
    count = contents.ignored + len(contents.volumes)
    if not count:
        return ()
    files = "1 file that is" if count == 1 else f"{count} files that are"
    return (ScanWarning("CT_FILES_IGNORED", f"{files} not DICOM images of a scan were left aside."),)


def _turned(choice: Choice) -> tuple[ScanWarning, ...]:
    if choice.series.plane not in ("coronal", "sagittal"):
        return ()
    return (
        ScanWarning(
            "CT_REFORMATTED", f"The scan is stored as {choice.series.plane} images; it was turned to axial slices."
        ),
    )
