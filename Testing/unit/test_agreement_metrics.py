"""Every number of agreement against another library, and what is said where a number does not exist."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from agreement_references import REFERENCES, blobs, ours, reference, reference_auroc, uniform_geometry
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label as skimage_label
from skimage.measure import regionprops

from HemoCAMLib.errors import UsageError
from HemoCAMLib.measure.agreement import OVERLAP_ONLY, STRUCTURES, CompareOptions, compare_label_maps
from HemoCAMLib.measure.agreement.detection import auroc, detect_slices
from HemoCAMLib.measure.agreement.lesions import find_lesions
from HemoCAMLib.measure.agreement.overlap import common_window
from HemoCAMLib.subtypes import SUBTYPE_NAMES

SPACING_MM = (4.0, 0.7, 0.45)
#: Lesions are matched at IoU > 0.5 for the comparison with panoptic quality.
OPTIONS = CompareOptions(lesion_minimum_iou=math.nextafter(0.5, 1))


def binary(prediction: np.ndarray, truth: np.ndarray, spacing=SPACING_MM, options=OPTIONS):  # type: ignore[no-untyped-def]
    geometry = uniform_geometry(len(truth), spacing)
    return compare_label_maps(prediction, truth, geometry, truth_subtypes=(), options=options)


@pytest.mark.parametrize(("metric", "library"), REFERENCES)
def test_a_metric_is_what_another_library_computes(metric: str, library: str) -> None:
    rng = np.random.default_rng(7)
    for shape in ((6, 24, 20), (1, 40, 30), (9, 12, 17)):
        spacing = (float(rng.uniform(1, 6)), float(rng.uniform(0.3, 2)), float(rng.uniform(0.3, 2)))
        prediction, truth = blobs(rng, shape)
        expected = reference(metric, library, prediction, truth, spacing)
        # MONAI computes some ratios in single precision.
        assert ours(metric, binary(prediction, truth, spacing)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


masks = arrays(np.bool_, (3, 5, 4), elements=st.booleans())


@settings(max_examples=25, deadline=None)
@given(masks, masks, st.sampled_from(["dice", "hausdorff_mm", "hausdorff95_mm", "mean_surface_distance_mm"]))
def test_any_two_masks_give_what_monai_gives(prediction: np.ndarray, truth: np.ndarray, metric: str) -> None:
    assume(prediction.any() and truth.any())
    expected = reference(metric, "MONAI", prediction, truth, SPACING_MM)
    assert ours(metric, binary(prediction, truth)) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(masks, masks)
def test_exchanging_prediction_and_truth_exchanges_what_should_be_exchanged(a: np.ndarray, b: np.ndarray) -> None:
    one, other = binary(a, b)["any"], binary(b, a)["any"]
    assert one.dice == other.dice
    assert one.overlap.precision == other.overlap.recall
    assert vars(one.surface) == pytest.approx(vars(other.surface))
    assert one.volume.difference_ml == pytest.approx(-other.volume.difference_ml)
    assert one.lesions is not None
    assert other.lesions is not None
    assert one.lesions.missed == other.lesions.false_positives


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=12), st.data())
def test_auroc_is_that_of_scikit_learn_with_ties(flags: list[bool], data: st.DataObject) -> None:
    truth = np.array(flags)
    assume(0 < truth.sum() < truth.size)
    levels = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    score = np.array(data.draw(st.lists(levels, min_size=truth.size, max_size=truth.size)))
    assert auroc(truth, score) == pytest.approx(reference_auroc(truth, score))


def test_several_structures_at_once_are_each_what_they_are_alone() -> None:
    rng = np.random.default_rng(1)
    prediction, truth = (rng.integers(0, 6, (4, 12, 10)).astype(np.uint8) for _ in range(2))
    geometry = uniform_geometry(4, SPACING_MM)
    whole = compare_label_maps(prediction, truth, geometry)
    assert tuple(whole.structures) == STRUCTURES
    for label, name in enumerate(SUBTYPE_NAMES, start=1):
        alone = compare_label_maps(prediction == label, truth == label, geometry, truth_subtypes=())
        assert whole[name].overlap == alone["any"].overlap
        assert whole[name].surface == alone["any"].surface
        assert whole[name].lesions == alone["any"].lesions
        assert whole[name].slices == alone["any"].slices
    for name in STRUCTURES:
        fast = compare_label_maps(prediction, truth, geometry, options=OVERLAP_ONLY)[name]
        assert (fast.overlap, fast.volume, fast.detection) == (
            whole[name].overlap,
            whole[name].volume,
            whole[name].detection,
        )


@settings(max_examples=20, deadline=None)
@given(masks, masks)
def test_every_slice_is_compared_as_an_image_of_its_own(prediction: np.ndarray, truth: np.ndarray) -> None:
    slices = binary(prediction, truth)["any"].slices
    assert len(slices) == len(truth)
    for index, row in enumerate(slices):
        pair = prediction[index], truth[index]
        assert row.overlap == binary(pair[0][None], pair[1][None])["any"].overlap
        assert row.surface is not None
        for name in ("hausdorff_mm", "hausdorff95_mm", "mean_surface_distance_mm", "surface_dice_1mm"):
            value = getattr(row.surface, name)
            if pair[0].any() and pair[1].any():
                assert value == pytest.approx(reference(name, "MONAI", *pair, SPACING_MM[1:]), rel=1e-5)
            else:
                assert not value
        assert row.box_iou == box_iou_by_skimage(prediction[index], truth[index])


def box_iou_by_skimage(a: np.ndarray, b: np.ndarray) -> float | None:
    """IoU of the boxes that scikit-image finds around all of each mask."""
    if not a.any() or not b.any():
        return 0.0 if a.any() or b.any() else None
    filled = []
    for mask in (a, b):
        top, left, bottom, right = regionprops(mask.astype(np.uint8))[0].bbox
        box = np.zeros(mask.shape, bool)
        box[top:bottom, left:right] = True
        filled.append(box)
    return float((filled[0] & filled[1]).sum() / (filled[0] | filled[1]).sum())


class TestLesions:
    """Three true lesions: one found twice over, one missed, one found; and a false positive."""

    geometry = uniform_geometry(5, (5.0, 1.0, 1.0))

    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        truth = np.zeros((5, 30, 30), np.uint8)
        prediction = truth.copy()
        truth[0:2, 2:6, 2:12] = 1
        prediction[0:2, 2:6, 2:5] = 1
        prediction[0:2, 2:6, 8:12] = 1
        truth[4, 20:24, 20:24] = 1
        truth[2:4, 12:16, 2:6] = 1
        prediction[2:4, 12:16, 3:7] = 1
        prediction[4, 2:4, 25:28] = 1
        return prediction, truth

    def test_by_touch_two_found_one_missed_one_false(self) -> None:
        lesions = compare_label_maps(*self.pair(), self.geometry)["IPH"].lesions
        assert lesions is not None
        assert (lesions.truth_count, lesions.prediction_count) == (3, 4)
        assert (lesions.found, lesions.missed, lesions.false_positives) == (2, 1, 1)
        assert lesions.f1 == pytest.approx(2 / 3)
        first, second, missed, false = lesions.pairs
        assert first.dice == pytest.approx(2 * 56 / (80 + 56))
        assert (first.truth_ml, first.prediction_ml) == pytest.approx((0.4, 0.28))
        assert first.box_iou == 1.0
        assert second.surface is not None
        assert second.surface.hausdorff_mm == 1.0
        assert second.box_iou == pytest.approx(24 / 40)
        assert (missed.found, missed.surface, missed.first_slice) == (False, None, 4)
        assert (false.number, false.truth_ml, false.prediction_ml) == (None, 0.0, pytest.approx(0.03))

    def test_by_iou_a_lesion_has_one_partner(self) -> None:
        options = CompareOptions(lesion_minimum_iou=0.3)
        lesions = compare_label_maps(*self.pair(), self.geometry, options=options)["IPH"].lesions
        assert lesions is not None
        assert (lesions.found, lesions.missed, lesions.false_positives) == (2, 1, 2)
        assert lesions.pairs[0].iou == pytest.approx(32 / 80)

    def test_distances_of_a_lesion_are_those_of_its_masks_alone(self) -> None:
        rng = np.random.default_rng(3)
        prediction, truth = blobs(rng, (5, 30, 30))
        whole = binary(prediction, truth, options=CompareOptions())["any"].lesions
        assert whole is not None
        assert whole.found > 1
        true_map, predicted_map = (skimage_label(mask, connectivity=3) for mask in (truth, prediction))
        for pair in whole.pairs:
            if pair.number is None or not pair.found:
                continue
            lesion = true_map == pair.number
            matched = np.isin(predicted_map, np.setdiff1d(np.unique(predicted_map[lesion]), [0]))
            alone = binary(matched, lesion)["any"]
            assert pair.surface is not None
            assert vars(pair.surface) == pytest.approx(vars(alone.surface))
            assert pair.dice == alone.dice

    @settings(max_examples=20, deadline=None)
    @given(masks)
    def test_lesions_are_the_26_connected_components_of_scikit_image(self, mask: np.ndarray) -> None:
        lesions = find_lesions(mask, np.ones(3), (0, 0, 0))
        np.testing.assert_array_equal(lesions.map, skimage_label(mask, connectivity=3))
        assert [box.start + box.stop for box in lesions.boxes] == [r.bbox for r in regionprops(lesions.map)]


class TestEmpty:
    """What is undefined is None with a reason; what is merely bad is 0."""

    geometry = uniform_geometry(3, (5.0, 1.0, 1.0))
    nothing = np.zeros((3, 8, 8), np.uint8)

    def something(self) -> np.ndarray:
        mask = self.nothing.copy()
        mask[1, 2:5, 2:5] = 4
        return mask

    def test_both_empty_is_undefined_and_said_so(self) -> None:
        fields = compare_label_maps(self.nothing, self.nothing, self.geometry).to_dict()["structures"]["SDH"]
        for name in ("dice", "iou", "precision", "recall", "hausdorff95_mm", "surface_dice_1mm", "box_iou"):
            assert fields[name] is None
            assert fields["undefined"][name] == "both are empty"
        assert fields["specificity"] == 1
        assert (fields["difference_ml"], fields["difference_percent"]) == (0, None)
        assert fields["lesions"]["f1"] is None

    @pytest.mark.parametrize("empty", ["prediction", "truth"])
    def test_one_empty_scores_zero_and_has_no_distance(self, empty: str) -> None:
        pair = [self.nothing, self.something()] if empty == "prediction" else [self.something(), self.nothing]
        agreement = compare_label_maps(*pair, self.geometry)
        fields = agreement.to_dict()["structures"]["SDH"]
        assert (fields["dice"], fields["iou"], fields["surface_dice_2mm"], fields["lesions"]["f1"]) == (0, 0, 0, 0)
        assert fields["hausdorff_mm"] is None
        assert fields["undefined"]["hausdorff_mm"] == f"the {empty} is empty"
        assert fields["recall" if empty == "prediction" else "precision"] == 0
        assert fields["precision" if empty == "prediction" else "recall"] is None
        assert agreement["SDH"].slices[0].overlap.empty == "both"

    def test_json_holds_neither_nan_nor_infinity(self) -> None:
        rng = np.random.default_rng(0)
        truth = rng.integers(0, 6, (3, 8, 8)).astype(np.uint8)
        for pair in ((truth, self.nothing), (self.nothing, self.nothing), (truth, truth), (self.something(), truth)):
            json.dumps(compare_label_maps(*pair, self.geometry).to_dict(), allow_nan=False)

    def test_a_full_grid_has_no_specificity(self) -> None:
        full = np.ones((3, 8, 8), np.uint8)
        assert compare_label_maps(full, full, self.geometry)["IPH"].overlap.specificity is None


def test_slice_detection_counts_slices_and_auroc_needs_both_kinds() -> None:
    truth, prediction = np.array([True, True, False, False]), np.array([True, False, True, False])
    found = detect_slices(prediction, truth, np.array([0.9, 0.4, 0.5, 0.1]))
    assert (found.sensitivity, found.specificity, found.auroc) == (0.5, 0.5, 0.75)
    assert detect_slices(prediction, np.ones(4, bool), np.ones(4)).auroc is None


def test_a_binary_truth_compares_any_hemorrhage_only_and_says_so() -> None:
    labels = np.zeros((2, 6, 6), np.uint8)
    labels[0, 1:3, 1:3] = 3
    agreement = compare_label_maps(labels, labels > 0, uniform_geometry(2, SPACING_MM), truth_subtypes=())
    assert list(agreement.structures) == ["any"]
    assert agreement["any"].dice == 1
    assert "only hemorrhage of any kind" in " ".join(agreement.notes)


@pytest.mark.parametrize("bad", [np.zeros((3, 4, 4)), np.full((2, 4, 4), 6), np.zeros((2, 4)), np.full((2, 4, 4), -1)])
def test_what_is_no_label_map_of_the_scan_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(UsageError):
        compare_label_maps(bad, np.zeros((2, 4, 4), np.uint8), uniform_geometry(2, SPACING_MM))


@settings(max_examples=30, deadline=None)
@given(masks)
def test_the_window_is_the_tightest(mask: np.ndarray) -> None:
    window = common_window(mask.view(np.uint8))
    assert mask[window].sum() == mask.sum()
    if mask.any():
        box = regionprops(mask.astype(np.uint8))[0].bbox
        assert tuple(side.start for side in window) + tuple(side.stop for side in window) == box
