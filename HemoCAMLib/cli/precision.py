"""``hemocam models check-precision``: does half precision change what a model finds?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.text import Text

from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import UsageError
from HemoCAMLib.model import ModelBundle, find_model
from HemoCAMLib.model.half_precision import HalfPrecision
from HemoCAMLib.run.precision_check import check_half_precision


def check_precision(
    model: str,
    scans: list[Path],
    *,
    dtype: str,
    device: str,
    backend: str,
    dice_bound: float,
    volume_bound_ml: float,
    write: bool,
    as_json: bool,
) -> None:
    """Compares, prints, and where asked writes the record into the bundle, in place of an older one of its kind.

    Raises:
        HemoCAMError: a scan or the model is refused, or the device fails.
    """
    bundle = find_model(model or None)
    if write and not bundle.path.is_dir():
        # Before the scans are analysed, not after.
        raise UsageError("USAGE_MODEL_ZIP", "A zipped model cannot be changed.", "Unpack it and give its folder.")
    record = check_half_precision(
        bundle,
        scans,
        dtype=dtype,
        device=device,
        backend=backend,
        dice_bound=dice_bound,
        volume_bound_ml=volume_bound_ml,
        on_scan=lambda done, total: messages().print(f"{done} of {total} scans compared"),
    )
    if write:
        # Read again: the comparison takes minutes, in which somebody may have changed the description.
        metadata = ModelBundle.open(bundle.path).metadata
        others = [each for each in metadata.half_precision if not _same_kind(each, record)]
        bundle.described_by(replace(metadata, half_precision=(*others, record)))
    if as_json:
        write_json({"half_precision": record.as_dict(), "written": write})
        return
    output().print(
        Text(
            f"{bundle.metadata.name} in {record.dtype} on {record.device} with {record.backend}, {record.scans} scans: "
            f"{'passed' if record.passed else 'not passed'}\n"
            f"largest change of Dice {record.largest_dice_change:.4f}, accepted {record.dice_bound:g}\n"
            f"largest change of volume {record.largest_volume_change_ml:.3f} mL, "
            f"accepted {record.volume_bound_ml:g} mL\n"
            f"largest change of a probability {record.largest_probability_change:.4f}"
        )
    )


def _same_kind(one: HalfPrecision, other: HalfPrecision) -> bool:
    return (one.dtype, one.device, one.backend) == (other.dtype, other.device, other.backend)
