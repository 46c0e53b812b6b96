"""Methods × layers × classes × mask rules on the same slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from hemocam_training.experiments.bootstrap import Estimate
from hemocam_training.experiments.cam_benchmark.maps import SliceMaps, slice_maps
from hemocam_training.experiments.cam_benchmark.masks import (
    ABSOLUTE,
    GIVEN,
    best_threshold,
    dice_curve,
    map_mask,
    score_image,
)
from hemocam_training.experiments.cam_benchmark.scores import SliceScore, score_mask, summarise
from hemocam_training.experiments.cam_benchmark.slices import BenchmarkSlice
from HemoCAMLib.cam import Explainer
from HemoCAMLib.model.stacks import StackSettings
from HemoCAMLib.subtypes import ANY

#: Compared where nothing else is asked for; those that are not registered are left out.
METHODS = (
    "cam",
    "local-logit",
    "grad-cam",
    "hires-cam",
    "layer-cam",
    "elementwise-grad-cam",
    "xgrad-cam",
    "grad-cam++",
    "full-grad",
    "eigen-cam",
    "eigen-grad-cam",
    "kpca-cam",
    "ablation-cam",
    "ablation-cam-fast",
    "score-cam",
    "score-cam-fast",
)
#: Methods that take every layer of the network at once.
LAYERLESS = frozenset({"full-grad"})
#: The method whose maps have a probability.
LOCAL_LOGIT = "local-logit"
#: With fewer tuning slices of a subtype, the threshold of "any" is taken for it.
FEWEST_TUNING_SLICES = 6


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        methods: registry names.
        layers: presets or module names.
        rules: as :meth:`ThresholdRule.from_value` reads them; the threshold of ``fixed`` is chosen on tuning slices,
            and so is that of ``absolute``, which only local logits have. ``fixed:75`` is that threshold of 255.
        slow: methods that see only every ``slow_step``-th slice.
        slow_step: see above.
        layerless: methods that take every layer of the network; they are run for the first layer only.
        draws: of the bootstrap.
    """

    methods: tuple[str, ...] = METHODS
    layers: tuple[str, ...] = ("[-1]", "[-2]", "[-3]")
    rules: tuple[str, ...] = (
        "fixed",
        ABSOLUTE,
        "mean@brain",
        "percentile:90@brain",
        "percentile:95@brain",
        "otsu@brain",
        "percentile:95",
    )
    slow: frozenset[str] = frozenset({"score-cam", "ablation-cam", "score-cam-fast"})
    slow_step: int = 5
    layerless: frozenset[str] = LAYERLESS
    draws: int = 1000


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        method, layer, name, rule: what; ``name`` is the class.
        part: ``all`` slices, or the ``subset`` that slow methods see too.
        threshold: of 255 where the rule is ``fixed``, else None.
        slices, scans: how many.
        milliseconds: median per slice, the layer's trunk included, for all classes that the slice shows.
        estimates: by measure.
    """

    method: str
    layer: str
    name: str
    rule: str
    part: str
    threshold: float | None
    slices: int
    scans: int
    milliseconds: float
    estimates: dict[str, Estimate]


def compare(
    network: nn.Module,
    settings: StackSettings,
    comparison: Comparison,
    tuning: Sequence[BenchmarkSlice],
    test: Sequence[BenchmarkSlice],
    progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Every line, by layer, method, class, rule and part. A method that a layer does not offer gives no line.

    Args:
        network: from a bundle.
        settings: of its input.
        comparison: what.
        tuning: slices of patients who are not among the test's.
        test: slices to score.
        progress: told what is done.
    """
    if not tuning or not test:
        raise ValueError("none of these scans bleeds: take more of them")
    rows = []
    every = {name: comparison.slow_step if name in comparison.slow else 1 for name in comparison.methods}
    for layer in comparison.layers:
        deeper = layer != comparison.layers[0]
        steps = {name: step for name, step in every.items() if not (deeper and name in comparison.layerless)}
        explainer = Explainer(network, [layer])
        tuned, found = (slice_maps(explainer, settings, steps, slices) for slices in (tuning, test))
        for method in tuned:
            rules = tuple(rule for rule in comparison.rules if rule != ABSOLUTE or method == LOCAL_LOGIT)
            thresholds = {
                rule: tuned_thresholds(tuned[method], tuning, rule) for rule in rules if rule in ("fixed", ABSOLUTE)
            }
            rows += _rows(replace(comparison, rules=rules), layer, method, thresholds, found[method], test)
            here = [r for r in rows if (r.layer, r.method, r.name, r.rule) == (layer, method, ANY, "fixed")]
            best = max(here, key=lambda row: row.slices)
            progress(f"{layer} {method}: Dice {best.estimates['dice'].value:.3f}, {best.milliseconds:.0f} ms")
    return rows


def tuned_thresholds(
    maps: Sequence[SliceMaps], slices: Sequence[BenchmarkSlice], rule: str = "fixed"
) -> dict[str, float]:
    """By class: the fixed threshold with the best mean Dice on these slices; "any" is always there."""
    curves = defaultdict(list)
    for found in maps:
        one = slices[found.position]
        for name, activation_map in zip(found.classes, found.maps, strict=True):
            scores = score_image(activation_map, one.labels.shape, rule)
            curves[name].append(dice_curve(scores, one.truth(name), one.brain))
    return {
        name: best_threshold(each) for name, each in curves.items() if name == ANY or len(each) >= FEWEST_TUNING_SLICES
    }


def _rows(
    comparison: Comparison,
    layer: str,
    method: str,
    thresholds: dict[str, dict[str, float]],
    maps: Sequence[SliceMaps],
    test: Sequence[BenchmarkSlice],
) -> list[Row]:
    scores: dict[tuple[str, str, str], list[SliceScore]] = defaultdict(list)
    for found in maps:
        parts = ("all",) if found.position % comparison.slow_step else ("all", "subset")
        one = test[found.position]
        for name, activation_map in zip(found.classes, found.maps, strict=True):
            truth, image = one.truth(name), score_image(activation_map, one.labels.shape)
            peak = truth[np.unravel_index(int(np.argmax(np.where(one.brain, image, -1))), truth.shape)]
            for rule in comparison.rules:
                mask = map_mask(activation_map, one.brain, rule, _threshold(thresholds, rule, name) or 0.0)
                score = score_mask(one.patient, mask, truth, one.pixel_area_mm2, peak_inside=bool(peak))
                for part in parts:
                    scores[name, rule, part].append(score)
    milliseconds = float(np.median([found.milliseconds for found in maps]))
    return [
        Row(
            method,
            layer,
            name,
            rule,
            part,
            _threshold(thresholds, rule, name),
            len(each),
            len({score.patient for score in each}),
            milliseconds,
            summarise(each, comparison.draws),
        )
        for (name, rule, part), each in scores.items()
        if part == "subset" or method not in comparison.slow
    ]


def _threshold(thresholds: dict[str, dict[str, float]], rule: str, name: str) -> float | None:
    """The threshold chosen for a class, or that of "any"; None where the rule finds its own."""
    if rule.startswith(GIVEN):
        return float(rule.removeprefix(GIVEN))
    return thresholds[rule].get(name, thresholds[rule][ANY]) if rule in thresholds else None
