"""Masks from the maps of the predicted class, held against drawn masks, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from hemocam_training.experiments.cam_versus_mask.size_aware import adjusted_iou, chance_iou, over_image, size_aware
from hemocam_training.learning.augmentation import windowed
from hemocam_training.learning.slices import CategorySlices
from HemoCAMLib.cam import Explainer
from HemoCAMLib.mask.threshold import map_threshold
from HemoCAMLib.mask.threshold_rule import ThresholdRule

#: Slices that go through the network at once.
BATCH = 8


def score_fold(
    network: nn.Module, slices: CategorySlices, *, fold: int, method: str, layer: str, rules: Sequence[str]
) -> pd.DataFrame:
    """One row a slice and rule.

    Args:
        network: with logits in the order of the slices' classes.
        slices: with masks, none of which the network has seen.
        fold: its number, kept in the rows.
        method, layer, rules: see :class:`.settings.Settings`.

    Returns:
        Columns ``patient scan fold category predicted lesion_share peak_inside reachable bound rule iou dice precision
        recall mask_share relative adjusted``; shares are of the image. Slices without a drawn pixel are left out.
    """
    explainer = Explainer(network, [layer])
    parsed = [(rule, ThresholdRule.from_value(rule)) for rule in rules]
    rows: list[dict[str, Any]] = []
    for indices in np.array_split(np.arange(len(slices)), max(1, -(-len(slices) // BATCH))):
        masks = slices.masks(indices) > 0
        stacks = windowed(slices.stacks_hu(indices, np.ones(indices.size, bool)))
        explanation = explainer.run(stacks.contiguous(memory_format=torch.channels_last))
        predicted = explanation.logits.argmax(dim=1).tolist()
        maps = explanation.maps(method).values.float().cpu().numpy()
        for position, index in enumerate(indices.tolist()):
            truth = masks[position]
            if not truth.any():
                continue
            about = {
                "patient": str(slices.shards.patients[index]),
                "scan": str(slices.shards.series[index]),
                "fold": fold,
                "category": str(slices.shards.categories[index]),
                "predicted": slices.class_names[predicted[position]],
            }
            rows += [about | row for row in score_map(maps[position, predicted[position]], truth, parsed)]
    return pd.DataFrame(rows)


def score_map(
    activation_map: NDArray[np.float32], truth: NDArray[np.bool_], rules: Sequence[tuple[str, ThresholdRule]]
) -> list[dict[str, Any]]:
    """One map by every rule; the map is interpolated to the image before its threshold is found, as in the study."""
    scores = over_image(activation_map, truth.shape)
    reach = size_aware(activation_map, truth)
    lesion = float(truth.mean())
    about = {
        "lesion_share": lesion,
        "peak_inside": bool(truth[np.unravel_index(int(scores.argmax()), truth.shape)]) and bool(np.ptp(scores) > 0),
        "reachable": reach.reachable,
        "bound": reach.bound,
    }
    rows = []
    for name, rule in rules:
        mask = rule_mask(scores, rule)
        both, marked, area = int((mask & truth).sum()), int(mask.sum()), int(truth.sum())
        iou, share = both / (marked + area - both), marked / truth.size
        rows.append(
            about
            | {
                "rule": name,
                "iou": iou,
                "dice": 2 * both / (marked + area),
                "precision": both / max(marked, 1),
                "recall": both / area,
                "mask_share": share,
                "relative": iou / reach.reachable if reach.reachable > 0 else 0.0,
                "adjusted": adjusted_iou(iou, chance_iou(lesion, share), reach.bound),
            }
        )
    return rows


def rule_mask(scores: NDArray[np.float32], rule: ThresholdRule) -> NDArray[np.bool_]:
    """[row, column] pixels of an interpolated map that exceed the threshold that the rule finds in it."""
    mask: NDArray[np.bool_] = scores > map_threshold(scores.astype(np.float64), rule)
    return mask


def best_rules(cases: pd.DataFrame) -> dict[int, str]:
    """By fold: the rule with the largest mean IoU on the cases of all other folds."""
    found = {}
    for fold in sorted(cases["fold"].unique()):
        means = cases[cases["fold"] != fold].groupby("rule", sort=False)["iou"].mean()
        found[int(fold)] = str(means.idxmax())
    return found


def at_best_rule(cases: pd.DataFrame) -> pd.DataFrame:
    """One row a case: each fold's by the rule that was chosen without it."""
    chosen = best_rules(cases)
    return cases[cases["rule"] == cases["fold"].map(chosen)].reset_index(drop=True)
