"""An analysis with other activation maps: same network, other method, layer and scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_head import head_hu

from HemoCAMLib import PlainWorker, analyze
from HemoCAMLib.cam import Explainer
from HemoCAMLib.errors import HemoCAMError, UsageError
from HemoCAMLib.model import SliceStacker, find_model
from HemoCAMLib.model.registry import load_network
from HemoCAMLib.report.page import report_html
from HemoCAMLib.run.map_settings import MapSettings
from HemoCAMLib.run.relabel_run import relabel
from HemoCAMLib.run.result import Result
from HemoCAMLib.run.source import scan_of_run

IJK_TO_RAS = np.diag([3.4, 3.4, 5.0, 1.0])
#: Gates that let some slices and subtypes of the tiny random model through and keep others back.
MIDDLE = {"class_thresholds": dict.fromkeys(("IPH", "IVH", "SAH", "SDH", "EDH"), 0.5)}


@pytest.fixture(scope="module")
def worker() -> Any:
    with PlainWorker() as running:
        yield running


@pytest.fixture
def run(worker: PlainWorker, tiny_bundle: Path, tmp_path: Path) -> Any:
    def analysed(**settings: Any) -> Result:
        return analyze(
            head_hu(),
            tmp_path / "run",
            ijk_to_ras=IJK_TO_RAS,
            model=str(tiny_bundle),
            threads=1,
            worker=worker,
            overwrite=True,
            **settings,
        )

    return analysed


def explained(result: Result, tiny_bundle: Path, method: str, layers: list[str], **options: Any) -> np.ndarray:
    """[class, slice, h, w] made directly, batch by batch as the run does."""
    bundle = find_model(str(tiny_bundle))
    network: Any = load_network(bundle, torch.device("cpu"))
    explainer = Explainer(network, layers)
    stacker = SliceStacker(scan_of_run(result).slices, bundle.metadata.stack_settings)
    found = [
        explainer.run(torch.from_numpy(stacker.stacks(range(first, first + 4)))).maps(method, **options).values
        for first in (0, 4)
    ]
    return torch.cat(found).detach().numpy().swapaxes(0, 1)


@pytest.mark.parametrize(
    ("method", "layers", "fusion"),
    [("layer-cam", ["[-2]"], ""), ("hires-cam", ["[-3]"], ""), ("grad-cam", ["[-2]", "[-3]"], "mean")],
)
def test_a_run_stores_the_maps_that_the_explainer_makes(
    run: Any, tiny_bundle: Path, method: str, layers: list[str], fusion: str
) -> None:
    result = run(map={"method": method, "layers": layers, "fusion": fusion, "explain": "all"})
    expected = explained(result, tiny_bundle, method, layers, fusion=fusion or None)
    assert result.activation.dtype == np.float32
    assert np.allclose(result.activation, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    recorded = result.fields["settings"]["map"]
    assert recorded["method"] == result.map_method == method
    assert len(recorded["layers"]) == len(layers)
    assert recorded["explained_above"] is None
    assert result.fields["settings"]["mask"]["map_values"] == "signed"
    assert result.fields["settings"]["mask"]["scale"] == "per_image"


def test_only_called_subtypes_get_a_map_unless_all_are_asked_for(run: Any) -> None:
    result = run(map={"method": "hires-cam", "layers": ["[-2]"]}, mask=MIDDLE)
    called = result.probabilities > 0.5
    called[result.classes.index("any")] = False
    assert called.any()
    assert not called[1:].all()
    assert np.array_equal(~np.isnan(result.activation).all(axis=(2, 3)), called)
    assert np.array_equal(np.isnan(result.activation).any(axis=(2, 3)), ~called)


def test_probabilities_do_not_depend_on_the_map(run: Any) -> None:
    plain = run().probabilities.copy()
    other = run(map={"method": "layer-cam", "layers": ["[-3]"]}).probabilities
    assert np.allclose(plain, other, atol=1e-5)


def test_the_default_map_is_stored_as_before(run: Any) -> None:
    result = run()
    assert result.activation.dtype == np.float16
    assert result.map_method == "local-logit"
    assert result.fields["settings"]["map"]["layers"] == ["merge.0"]


def test_a_gate_can_be_lowered_later_only_where_maps_are(run: Any, tmp_path: Path) -> None:
    lower = {"class_thresholds": {"IPH": 0.1}}
    gated = run(map={"method": "hires-cam", "layers": ["[-2]"]}, mask=MIDDLE)
    with pytest.raises(UsageError) as caught:
        relabel(gated.folder, tmp_path / "lower", mask=lower)
    assert caught.value.code == "USAGE_MAPS_MISSING"
    assert relabel(gated.folder, tmp_path / "other", mask={"rule": "percentile:90"}).map_method == "hires-cam"
    complete = run(map={"method": "hires-cam", "layers": ["[-2]"], "explain": "all"}, mask=MIDDLE)
    assert relabel(complete.folder, tmp_path / "lower", mask=lower).volume_ml["IPH"] >= complete.volume_ml["IPH"]


def test_a_report_of_other_maps_names_the_method_and_its_scale(run: Any) -> None:
    result = run(map={"method": "layer-cam", "layers": ["[-2]"]}, mask=MIDDLE)
    page = report_html(result, ct=scan_of_run(result))
    assert "layer-cam, as a share of the largest value in the scan" in page


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"method": "no-such-cam"}, "USAGE_CAM_METHOD"),
        ({"method": "hires-cam", "layers": ["merge.9"]}, "USAGE_CAM_LAYER"),
        ({"method": "hires-cam", "layers": ["[-1]", "[-2]"], "fusion": "sum"}, "USAGE_CAM_FUSION"),
        ({"method": "seg-grad-cam"}, "USAGE_CAM_METHOD"),
    ],
)
def test_maps_that_cannot_be_made_are_refused_with_a_sentence(run: Any, settings: dict[str, Any], code: str) -> None:
    with pytest.raises(HemoCAMError) as caught:
        run(map=settings)
    assert caught.value.code == code
    assert caught.value.advice


@pytest.mark.parametrize(
    "settings",
    [
        {"layers": ["[-3]"]},
        {"method": ""},
        {"method": "grad-cam", "layers": "[-3]"},
        {"method": "grad-cam", "layers": ["a", "b"]},
        {"method": "grad-cam", "explain": "some"},
        {"metod": "grad-cam"},
        {"method": 3},
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_starts(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        MapSettings.from_dict(settings)
    assert caught.value.code == "USAGE_MAP_SETTINGS"


def test_a_map_that_is_no_probability_is_refused_on_the_absolute_scale(run: Any) -> None:
    with pytest.raises(UsageError) as caught:
        run(map={"method": "grad-cam", "layers": ["[-2]"]}, mask={"scale": "absolute"})
    assert caught.value.code in {"USAGE_MASK_SCALE", "USAGE_MASK_SETTINGS"}
