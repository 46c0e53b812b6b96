"""Settings moved one at a time, slices taken out of their scans, and scans without hemorrhage as a limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hemocam_training.bundle_tuning import TuneOptions, tune
from hemocam_training.bundle_tuning.descent import Limit, descend
from hemocam_training.bundle_tuning.refinement import mask_goal
from hemocam_training.bundle_tuning.sources import SlicesAlone, negative_scan
from hemocam_training.mapped_scans import MappedScan, MapStore
from hemocam_training.phantoms import make_phantom
from hemocam_training.scan_sources import PhantomSource
from mapped_heads import PLAIN, VOXEL_ML, DrawnStore, head, labels
from small_models import write_small_bundle

from HemoCAMLib.errors import InputRefused, UsageError
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.refine import RefinementSettings

BOX = (slice(8, 20), slice(8, 20))


def bleeding(probability: float) -> MappedScan:
    """A head whose map is right, called with that probability in its two bleeding slices."""
    truth = labels(6)
    truth[(slice(2, 4), *BOX)] = 1
    scan = head("bleeding", truth, truth)
    scan.logits[:, :2] = -9
    scan.logits[2:4, :2] = np.log(probability / (1 - probability))
    return scan


def healthy(probability: float) -> MappedScan:
    """A head whose map marks what is no blood, in one slice that has that probability."""
    shown = labels(6, IPH=(1, BOX))
    scan = head("healthy", labels(6), shown)
    scan.logits[:] = -9
    scan.logits[1, :2] = np.log(probability / (1 - probability))
    return scan


def moved(scans: list[MappedScan], limit: Limit, start: MaskSettings = PLAIN) -> MaskSettings:
    settings, _ = descend([scans], limit, None, start, 2, lambda name: None)
    return settings


def test_a_gate_above_the_bleeding_slices_is_lowered_and_the_goal_rises() -> None:
    scans = [bleeding(0.3)]
    assert mask_goal(scans, None, PLAIN) == 0
    settings, told = descend([scans], Limit([], 1.0), None, PLAIN, 2, lambda name: None)
    assert settings.class_thresholds[0] < 0.3
    assert mask_goal(scans, None, settings) == pytest.approx(1.0)
    assert told["start"]["goal"] == 0
    assert told["end"]["goal"] == 1.0
    assert [step["changed"] for step in told["steps"]] == ["gate of IPH, log-odds -1.4"]
    assert settings.class_thresholds[0] == pytest.approx(1 / (1 + np.exp(1.4)), abs=1e-3)


def test_a_scan_without_hemorrhage_keeps_the_gate_up() -> None:
    marked_ml = 12 * 12 * VOXEL_ML
    assert Limit([healthy(0.4)], 0.0).reached_ml(None, PLAIN) == 0
    lowered = replace(PLAIN, class_thresholds=(0.25,) * 5)
    assert Limit([healthy(0.4)], 0.0).reached_ml(None, lowered) == pytest.approx(marked_ml)
    free = moved([bleeding(0.3)], Limit([healthy(0.4)], 2 * marked_ml))
    held = moved([bleeding(0.3)], Limit([healthy(0.4)], 0.5 * marked_ml))
    assert free.class_thresholds[0] < 0.3
    assert mask_goal([bleeding(0.3)], None, held) == 0


def test_settings_that_mark_too_much_are_left_even_where_dice_falls() -> None:
    start = replace(PLAIN, class_thresholds=(0.25,) * 5)
    limit = Limit([healthy(0.4)], 0.1)
    settings = moved([bleeding(0.35)], limit, start)
    assert limit.reached_ml(None, settings) <= 0.1
    assert mask_goal([bleeding(0.35)], None, settings) < mask_goal([bleeding(0.35)], None, start)


def test_a_class_that_is_never_called_stays_so_and_refinement_limits_keep_their_order() -> None:
    start = MaskSettings(
        (0.5, 1.0, 0.5, 0.5, 0.5), (0.5,) * 5, refinement=RefinementSettings(lowest_hu=42.0, seed_hu=42.0)
    )
    settings = moved([bleeding(0.3), healthy(0.1)], Limit([], 1.0), start)
    assert settings.class_thresholds[1] == 1.0
    assert settings.refinement is not None
    assert settings.refinement.lowest_hu <= settings.refinement.seed_hu


def test_outlines_that_stay_the_maps_have_no_limits_to_move() -> None:
    start = replace(PLAIN, refinement=RefinementSettings(name="map-only", smallest_height=0.0))
    settings = moved([bleeding(0.3)], Limit([], 1.0), start)
    assert settings.refinement == start.refinement
    assert mask_goal([bleeding(0.3)], None, settings) == pytest.approx(1.0)


def test_old_subdural_blood_is_kept_though_no_limit_of_hu_outlines_it() -> None:
    scan = bleeding(0.9)
    assert scan.truth is not None
    old = replace(
        scan,
        truth=scan.truth * np.uint8(4),
        hu=np.where(scan.truth > 0, 29, 30).astype(np.int16),
        local_logits=np.roll(scan.local_logits, 3, axis=0),
        logits=scan.logits[:, [0, 2, 3, 4, 1, 5]],
    )
    settings = moved([old], Limit([], 1.0), replace(PLAIN, refinement=RefinementSettings()))
    assert settings.refinement is not None
    assert settings.refinement.where_empty == ("clear", "clear", "clear", "keep", "clear")
    assert mask_goal([old], None, settings) == pytest.approx(1.0)


def test_tuning_in_rounds_writes_what_it_gained() -> None:
    store = DrawnStore([bleeding(0.3), healthy(0.02)])
    found = tune(store, store, "told", TuneOptions(refinement=False, rounds=1))  # type: ignore[arg-type]
    assert found.figures["masks"]["descent"]["end"]["goal"] >= found.figures["masks"]["descent"]["start"]["goal"]
    assert found.figures["masks"]["descent"]["negative_scans"] == 0
    with pytest.raises(UsageError, match="0 or more"):
        TuneOptions(rounds=-1)


def test_slices_alone_are_those_of_their_scans_with_their_extents() -> None:
    scans = PhantomSource(2_010_000, 2, size=64, mixtures=(("IPH",), ()))
    source = SlicesAlone(scans, 4)
    assert len(source) == 8
    first = [source.load(number) for number in range(8)]
    again = [SlicesAlone(scans, 4).load(number) for number in range(8)]
    whole = [scans.load(number) for number in range(2)]
    for number, one in enumerate(first):
        origin = whole[number // 4]
        index = int(one.slices[0])
        assert one.hu.shape == (1, 64, 64)
        assert np.array_equal(one.hu[0], origin.hu[index])
        assert np.array_equal(one.hu, again[number].hu)
        assert one.geometry is not None
        assert origin.geometry is not None
        assert one.geometry.extents_mm == pytest.approx([origin.geometry.extents_mm[index]])
        assert one.mask is not None
        assert origin.mask is not None
        assert np.array_equal(one.mask[0], origin.mask[index])
        if number in (0, 2):
            assert one.labels[0, 0] == 1
    assert source.describe() != scans.describe()


def test_a_negative_scan_is_mapped_from_its_file(tmp_path: Path) -> None:
    phantom = make_phantom(2_010_003, 128, 128, ())
    image = sitk.GetImageFromArray(phantom.hu)
    pixel_mm = phantom.geometry.pixel_spacing_mm[0]
    image.SetSpacing((pixel_mm, pixel_mm, 5.0))
    sitk.WriteImage(image, str(tmp_path / "head.nii.gz"))
    scan = negative_scan(tmp_path / "head.nii.gz")
    assert scan.hu.shape == phantom.hu.shape
    assert not scan.labels.any()
    mapped = MapStore(write_small_bundle(tmp_path / "bundle")).mapped(scan)
    assert mapped.target.sum() == 0
    assert mapped.known.all()
    everything = replace(PLAIN, class_thresholds=(0.0,) * 5, mask_thresholds=(0.0,) * 5)
    brain_ml = (mapped.brain.sum(axis=(1, 2)) * mapped.voxel_ml).sum()
    assert Limit([mapped], 1.0).reached_ml(None, everything) == pytest.approx(brain_ml)
    with pytest.raises(InputRefused):
        negative_scan(tmp_path / "nothing.nii.gz")
