"""Energy, pointing, deletion and insertion against closed forms; paired differences; the maps of a known network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hemocam_training.experiments.catalogue import experiment_named, run_experiment
from hemocam_training.experiments.segmentation_explained import Settings
from hemocam_training.experiments.segmentation_explained.explain import (
    CHANCE,
    HIRES,
    MEASURES,
    PIXELS,
    SEG,
    Explained,
    head_pixels,
)
from hemocam_training.experiments.segmentation_explained.perturbation import (
    Perturbation,
    perturbation_curves,
    pixel_order,
)
from hemocam_training.experiments.segmentation_explained.scores import energy_inside, points_inside
from hemocam_training.experiments.segmentation_explained.tables import differences, score_table, segmentation_table
from hemocam_training.learning.config_file import config_values, read_settings
from torch import Tensor

from HemoCAMLib.cam import Explainer
from HemoCAMLib.model.registry import build_segmentation_network

REGION = np.zeros((8, 8), bool)
REGION[2:4, 2:4] = True


def test_energy_of_an_even_map_is_the_share_of_the_area() -> None:
    assert energy_inside(np.ones((8, 8), np.float32), REGION) == pytest.approx(4 / 64)
    assert energy_inside(REGION.astype(np.float32), REGION) == 1
    assert np.isnan(energy_inside(-np.ones((8, 8), np.float32), REGION))


def test_a_point_beside_the_region_hits_only_within_the_tolerance() -> None:
    saliency = np.zeros((8, 8), np.float32)
    saliency[2, 6] = 1
    assert points_inside(saliency, REGION) == 0
    assert points_inside(saliency, REGION, tolerance_px=2.9) == 0
    assert points_inside(saliency, REGION, tolerance_px=3.0) == 1
    assert np.isnan(points_inside(np.zeros((8, 8), np.float32), REGION))


def test_equal_pixels_come_in_an_order_that_chance_decides() -> None:
    flat = np.zeros((8, 8), np.float32)
    everywhere = np.ones((8, 8), bool)
    first, again, other = (pixel_order(flat, everywhere, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first) == list(range(64))


def test_areas_of_a_network_that_averages_its_region_are_those_of_the_formula() -> None:
    # The answer is the mean of four pixels of value 1; deleting k of them leaves 1 - k / 4.
    image = torch.zeros(1, 8, 8)
    region = torch.from_numpy(REGION)
    image[0, region] = 1

    def answer(images: Tensor) -> Tensor:
        return images[:, 0, region].mean(dim=1)

    best = pixel_order(REGION.astype(np.float32), np.ones((8, 8), bool))
    worst = best[::-1].copy()
    asked = [Perturbation(kind, order) for order in (best, worst) for kind in ("deletion", "insertion")]
    shares = np.arange(65) / 64
    nothing = torch.zeros_like(image)
    curves = perturbation_curves(answer, image, nothing, nothing, asked, shares)
    # A line from 1 to 0 over the first 4 of 64 pixels: area 4 / 64 / 2.
    assert [curve.area for curve in curves] == pytest.approx([2 / 64, 1 - 2 / 64, 1 - 2 / 64, 2 / 64])
    assert curves[0].at(4 / 64) == 0
    assert curves[0].at(2 / 64) == pytest.approx(0.5)


def test_deleted_pixels_take_the_filling_and_inserted_ones_the_image() -> None:
    seen: list[Tensor] = []

    def answer(images: Tensor) -> Tensor:
        seen.append(images.clone())
        return images.mean(dim=(1, 2, 3))

    image, without, blurred = (torch.full((3, 2, 2), value) for value in (1.0, 0.25, 0.5))
    order = np.array([3, 0, 1, 2])
    asked = [Perturbation("deletion", order), Perturbation("insertion", order)]
    perturbation_curves(answer, image, without, blurred, asked, (0.0, 0.5, 1.0))
    deleted, inserted = seen[0][1], seen[0][4]
    assert deleted[:, 1, 1].tolist() == [0.25] * 3
    assert deleted[0].flatten().tolist() == [0.25, 1, 1, 0.25]
    assert inserted[0].flatten().tolist() == [1, 0.5, 0.5, 1]


def test_the_head_is_found_without_the_table_and_its_dark_ventricles_are_part_of_it() -> None:
    rows, columns = np.indices((64, 64))
    image = (np.hypot(rows - 30, columns - 32) < 22).astype(np.float32) * 0.5
    image[28:32, 30:34] = 0
    image[60:62] = 0.8
    head = head_pixels(image)
    assert head[30, 32]
    assert not head[61, 32]
    assert not head[2, 2]


def test_both_methods_agree_where_the_gradient_is_even() -> None:
    # With one pixel a feature map both formulas are the same number.
    torch.manual_seed(0)
    network = build_segmentation_network("monai-unet", {"channels": [4, 8, 8], "residual_units": 0}, 2).eval()
    layer = network.map_layers[-1]
    explanation = Explainer(network, [layer]).run(torch.rand(1, 3, 4, 4))
    everything = torch.ones(4, 4, dtype=torch.bool)
    maps = [explanation.maps(method, [1], mask=everything).values for method in (SEG, HIRES)]
    assert maps[0].shape[-2:] == (1, 1)
    torch.testing.assert_close(maps[0], maps[1])


def test_differences_are_paired_by_patient() -> None:
    rng = np.random.default_rng(0)
    explained = [_explained(f"p{n // 3}", rng.normal(0.3, 0.2), 0.1) for n in range(30)]
    found = differences(explained, "deep", draws=500)
    assert found["energy_truth"].value == pytest.approx(0.1)
    # Every pair differs by the same amount, whatever the scores are, so the interval is a point.
    assert (found["energy_truth"].low, found["energy_truth"].high) == pytest.approx((0.1, 0.1))
    rows = score_table(explained, {"deep": "[-1]"}, draws=200).rows
    assert [row["map"] for row in rows] == ["Seg-Grad-CAM", "Seg-HiRes-Grad-CAM", "chance", "the explained pixels"]
    assert rows[0]["energy_truth"].high - rows[0]["energy_truth"].low > 0.02


def test_dice_of_the_networks_own_masks_is_pooled_over_pixels() -> None:
    table = segmentation_table({"any": [("a", 10, 20, 20), ("b", 0, 5, 0)]}, draws=100)
    assert table.rows[0]["dice"].value == pytest.approx(20 / 45)
    assert table.rows[0]["slices"] == 1


def _explained(patient: str, energy: float, gain: float) -> Explained:
    keys = [(SEG, "deep"), (HIRES, "deep"), (CHANCE, ""), (PIXELS, "")]
    scores = {key: dict.fromkeys(MEASURES, energy + (gain if key[0] == HIRES else 0)) for key in keys}
    return Explained(0, patient, 1, REGION, REGION, {}, scores, {})


def test_the_experiment_writes_its_report_and_goes_on_where_it_stood(tmp_path: Path) -> None:
    settings = quick_settings()
    settings["fit"]["network"]["arguments"] = {"channels": [4, 8, 8], "residual_units": 0}
    settings["fit"]["stages"] = [{"input_size": 64, "batch": 4, "steps": 2}]
    # Two steps teach nothing, so it is the true pixels that are explained.
    settings |= {
        "explain": {"per_scan": 1, "of_truth": True, "layers": ["[-1]", "[-3]"]},
        "phantoms": {"train": 1, "tune": 1, "test": 2, "matrix": 64},
        "draws": 100,
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    page = run_experiment("segmentation-explained", tmp_path / "out", config=config, quick=True)
    assert "Not a result" in page.read_text(encoding="utf-8")
    scores = pd.read_csv(tmp_path / "out" / "tables" / "scores.csv")
    assert scores["layer"].tolist() == ["[-1]", "[-1]", "[-3]", "[-3]", "–", "–"]
    pixels = scores[scores["map"] == "the explained pixels"].iloc[0]
    assert pixels["energy_explained"] == pixels["pointing_explained"] == 1
    again: list[str] = []
    run_experiment("segmentation-explained", tmp_path / "out", config=config, quick=True, progress=again.append)
    assert pd.read_csv(tmp_path / "out" / "tables" / "scores.csv").equals(scores)


@pytest.mark.slow
def test_the_quick_configuration_is_small(tmp_path: Path) -> None:
    page = run_experiment("segmentation-explained", tmp_path, quick=True)
    files = [*page.parent.glob("*.*"), *page.parent.glob("tables/*"), *page.parent.glob("figures/*")]
    assert sum(file.stat().st_size for file in files) < 1e6


def test_the_full_configuration_can_be_read() -> None:
    path = experiment_named("segmentation-explained").configuration(quick=False)
    assert read_settings(path, Settings).fit.network.classes == 6


def quick_settings() -> dict[str, Any]:
    path = experiment_named("segmentation-explained").configuration(quick=True)
    return config_values(read_settings(path, Settings))
