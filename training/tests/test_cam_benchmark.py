from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hemocam_training.bundle_export.checkpoint import Checkpoint
from hemocam_training.bundle_export.description import Description
from hemocam_training.bundle_export.export import draft_metadata
from hemocam_training.compare_fast_maps import agreement
from hemocam_training.draw_maps import Chosen, best_of, in_rows, read_scores, typical_slice
from hemocam_training.experiments.cam_benchmark.bundles import BenchmarkOptions, benchmark, merged, report, settings_of
from hemocam_training.experiments.cam_benchmark.compare import Comparison, compare
from hemocam_training.experiments.cam_benchmark.figures import Panel, draw_panels, overlap_image
from hemocam_training.experiments.cam_benchmark.masks import ABSOLUTE, GRID, dice_curve, map_mask, score_image
from hemocam_training.experiments.cam_benchmark.page import fill_page
from hemocam_training.experiments.cam_benchmark.scores import SliceScore, score_mask, summarise
from hemocam_training.experiments.cam_benchmark.slices import BenchmarkSlice, bleeding_slices, scans_of
from hemocam_training.experiments.cam_benchmark.tables import agreement_table, best_rows, read_csv, write_csv
from hemocam_training.scan_sources import PhantomSource

from HemoCAMLib.model.bundle import ModelBundle, write_bundle
from HemoCAMLib.model.registry import build_network
from HemoCAMLib.model.stacks import SliceStacker, StackSettings
from HemoCAMLib.subtypes import CLASS_NAMES


@pytest.fixture(scope="module")
def slices() -> list[BenchmarkSlice]:
    return list(bleeding_slices(scans_of(PhantomSource(5, 2, size=128, mixtures=(("IPH", "SDH"),))), 2))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    torch.manual_seed(0)
    arguments = {"encoder": "test_resnet"}
    network: Any = build_network("timm-classifier", arguments, len(CLASS_NAMES))
    with torch.no_grad():
        network.body.fc.weight.abs_()
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    trained = Checkpoint("timm-classifier", arguments, CLASS_NAMES, 64, weights, ())
    description = Description(
        "phantom-classifier-test-resnet",
        "1",
        "A classifier.",
        "Tests only.",
        ({"name": "phantoms", "licence": "Apache-2.0"},),
    )
    folder = tmp_path_factory.mktemp("classifier") / "bundle"
    return write_bundle(folder, draft_metadata(trained, description, {}, ()), weights, half=True)


def test_slices_bleed_and_their_stack_is_the_one_of_the_whole_scan() -> None:
    phantom = PhantomSource(5, 1, size=128, mixtures=(("IPH", "SDH"),)).load(0)
    settings = StackSettings(64, 64)
    stacker = SliceStacker(np.maximum(phantom.hu, -1024), settings)
    found = list(bleeding_slices([phantom], 50))
    assert len(found) > 3
    for one in found:
        assert phantom.mask is not None
        assert (one.labels == phantom.mask[one.index]).all()
        assert one.classes[0] == "any"
        assert set(one.classes[1:]) <= {"IPH", "SDH"}
        assert np.array_equal(one.stack(settings), stacker[one.index])
    assert not list(bleeding_slices(scans_of(PhantomSource(3, 1, size=64, mixtures=((),))), 5))


@pytest.mark.parametrize("rule", ["fixed", ABSOLUTE])
def test_the_curve_of_dice_is_what_each_threshold_s_mask_gives(slices: list[BenchmarkSlice], rule: str) -> None:
    one = slices[1]
    activation_map = np.random.default_rng(0).normal(0, 2, (8, 8)).astype(np.float32)
    truth = one.truth("any")
    curve = dice_curve(score_image(activation_map, truth.shape, rule), truth, one.brain)
    for position in (0, 3, 8, 20, len(GRID) - 1):
        mask = map_mask(activation_map, one.brain, rule, GRID[position])
        expected = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert curve[position] == pytest.approx(expected, abs=2e-4)


def test_scores_of_a_mask_follow_their_definitions() -> None:
    truth, mask = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    truth[10:20, 10:20] = True
    mask[10:20, 15:25] = True
    mask[0, 0] = True
    score = score_mask("p7", mask, truth, 0.5, peak_inside=True)
    assert (score.both, score.called, score.truth) == (50, 101, 100)
    assert score.box_iou == pytest.approx(50 / 150)
    assert score.box_dice == pytest.approx(0.5)
    assert (score.boxes_hit, score.boxes) == (1, 1)
    empty = score_mask("p7", np.zeros_like(mask), truth, 0.5, peak_inside=False)
    means = summarise([score, empty])
    assert means["dice"].value == pytest.approx((100 / 201) / 2)
    assert means["dice_pooled"].value == pytest.approx(100 / 301)
    assert means["precision"].value == pytest.approx(50 / 101 / 2)
    assert means["recall_pooled"].value == pytest.approx(0.25)
    assert means["iou_pooled"].value == pytest.approx(50 / 251)
    assert means["loose_hit_rate"].value == 0.5
    assert means["peak_hit_rate"].value == 0.5
    assert np.isnan(means["dice"].low)


def test_the_interval_is_that_of_drawing_patients() -> None:
    rng = np.random.default_rng(3)
    scores = []
    for seed in range(30):
        both = int(rng.integers(0, 101))
        scores += [SliceScore(str(seed), both, 100, 100, 0.0, 0.0, 0, 1, peak_inside=False)] * 5
    values = np.array([score.both / 100 for score in scores[::5]])
    dice = summarise(scores, draws=4000)["dice"]
    assert dice.value == pytest.approx(values.mean())
    # Five equal slices a patient count as one: the standard error is that of thirty values.
    assert (dice.high - dice.low) / (2 * 1.96) == pytest.approx(values.std() / np.sqrt(30), rel=0.08)


def test_a_quick_comparison_scores_equal_maps_equally_and_fills_every_table(
    slices: list[BenchmarkSlice], bundle: ModelBundle, tmp_path: Path
) -> None:
    comparison = Comparison(
        ("cam", "grad-cam", "hires-cam", "no-such-method"),
        ("[-1]", "[-2]"),
        ("fixed", "percentile:90@brain"),
        slow=frozenset({"hires-cam"}),
        slow_step=2,
        draws=20,
    )
    options = BenchmarkOptions(comparison, threads=1)
    rows = benchmark(bundle, options, (slices, slices))
    assert {row.method for row in rows} == {"cam", "grad-cam", "hires-cam"}
    # Before average pooling CAM and Grad-CAM are the same map on two scales; a shallower layer has no CAM.
    one, other = ([r for r in rows if (r.method, r.layer) == (m, "[-1]")] for m in ("cam", "grad-cam"))
    for left, right in zip(one, other, strict=True):
        for name, estimate in left.estimates.items():
            assert estimate.value == pytest.approx(right.estimates[name].value, nan_ok=True)
    assert one[0].estimates["dice"].value > 0
    assert all(row.part == "subset" for row in rows if row.method == "hires-cam")
    best = {row.method: row for row in best_rows(rows)}
    assert best["grad-cam"].slices == len(slices)
    settings = settings_of(bundle, options, rows)
    text = report(rows, settings)
    assert "| hires-cam † |" in text
    assert "| cam |" in text
    write_csv(rows, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        stored = list(csv.DictReader(file))
    assert len(stored) == len(rows)
    assert float(stored[0]["dice"]) == pytest.approx(rows[0].estimates["dice"].value, abs=1e-4)
    again = merged(read_csv(tmp_path / "scores.csv"), [row for row in rows if row.method == "cam"])
    assert len(again) == len(rows)
    assert {(r.method, r.layer, r.slices) for r in best_rows(again)} == {
        (r.method, r.layer, r.slices) for r in best_rows(rows)
    }
    assert settings["model"]["name"] == "phantom-classifier-test-resnet"
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- begin mine layers -->\nold\n<!-- end -->\nafter\n<!-- begin other best -->\n<!-- end -->\n"
    )
    fill_page(page, "mine", tmp_path)
    filled = page.read_text(encoding="utf-8")
    assert filled.startswith("before\n<!-- begin mine layers -->\n| method |")
    assert "old" not in filled
    assert filled.endswith("<!-- end -->\nafter\n<!-- begin other best -->\n<!-- end -->\n")
    with pytest.raises(ValueError, match="marks"):
        fill_page(page, "nobody", tmp_path)


def test_a_method_of_every_layer_is_compared_once_and_marked(slices: list[BenchmarkSlice], bundle: ModelBundle) -> None:
    comparison = Comparison(("full-grad", "hires-cam"), ("[-1]", "[-2]"), ("fixed",), draws=5)
    options = BenchmarkOptions(comparison, threads=1)
    rows = benchmark(bundle, options, (slices, slices))
    assert {row.layer for row in rows if row.method == "full-grad"} == {"[-1]"}
    text = report(rows, settings_of(bundle, options, rows))
    assert "| full-grad ‡ | every |" in text
    assert Chosen("full-grad", "[-1]", 1, 1).title == "full-grad"


def test_approximate_maps_are_compared_with_exact_ones_and_the_page_takes_it(
    slices: list[BenchmarkSlice], bundle: ModelBundle
) -> None:
    rows = agreement(bundle, slices[:2], ["[-1]", "[-2]"])
    at = {(row["method"], row["layer"]): row for row in rows}
    # Closed form at the last layer: the fast variant is the exact one.
    assert at["ablation-cam-fast", "[-1]"]["smallest"] == 1
    assert -1 <= at["score-cam-fast", "[-2]"]["smallest"] <= at["score-cam-fast", "[-2]"]["median"] <= 1
    assert agreement_table({"rows": rows}).startswith("| method | [-1] | [-2] |")


def test_pairs_of_panels_stay_above_each_other() -> None:
    panels, columns = in_rows([Panel(str(k)) for k in range(5)], [Panel(f"{k}'") for k in range(5)])
    assert columns == 3
    assert [panel.title for panel in panels] == ["0", "1", "2", "0'", "1'", "2'", "3", "4", "", "3'", "4'", ""]


def test_nothing_to_score_is_said(bundle: ModelBundle) -> None:
    with pytest.raises(ValueError, match="bleeds"):
        compare(torch.nn.Identity(), StackSettings(64, 64), Comparison(("cam",)), [], [])


def test_a_figure_shows_every_panel(slices: list[BenchmarkSlice], tmp_path: Path) -> None:
    one = slices[0]
    truth = one.truth("any")
    activation_map = np.random.default_rng(0).random((8, 8), np.float32)
    panels = [Panel("slice"), Panel("map", activation_map), Panel("mask", mask=activation_map.mean() < truth)]
    draw_panels(one.hu[1], truth, panels, tmp_path / "figure.png", columns=3, note="a note")
    assert 5_000 < (tmp_path / "figure.png").stat().st_size < 400_000
    overlap = overlap_image(truth, truth)
    assert (overlap[truth, 3] > 0).all()
    assert (overlap[~truth] == 0).all()


def test_pictures_take_the_best_layer_and_a_typical_slice(slices: list[BenchmarkSlice], tmp_path: Path) -> None:
    head = "method,layer,class,mask_rule,slices_of,threshold,dice\n"
    lines = ("cam,[-1],any,fixed,subset,50,0.9", "cam,[-1],any,fixed,all,40,0.2", "cam,[-2],any,fixed,all,30,0.3")
    (tmp_path / "scores.csv").write_text(
        head + "\n".join((*lines, "cam,[-1],any,otsu,all,,0.9", "cam,[-1],IPH,fixed,all,1,1"))
    )
    scores = read_scores(tmp_path / "scores.csv")
    assert [(c.layer, c.threshold, c.dice) for c in scores] == [("[-1]", 40, 0.2), ("[-2]", 30, 0.3)]
    assert [c.layer for c in best_of(scores)] == ["[-2]"]
    alone = [one for one in slices if one.classes == ["any", "IPH"]]
    if alone:
        assert typical_slice(slices).classes == ["any", "IPH"]
    with pytest.raises(ValueError, match="EDH"):
        typical_slice(slices, "EDH")


def test_quick_options_keep_the_methods() -> None:
    options = BenchmarkOptions(Comparison(("cam",)))
    assert options.quick().comparison.methods == ("cam",)
    assert options.quick().test_scans < options.test_scans
    assert replace(options, threads=1).registered.methods == ("cam",)
