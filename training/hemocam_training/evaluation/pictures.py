"""Figures of an evaluation: do probabilities mean what they say, and do volumes agree?"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from hemocam_training.evaluation.collect import Collected
from hemocam_training.experiments.reporting import Figure, figure_of
from hemocam_training.experiments.reporting.figures import styled
from HemoCAMLib.subtypes import CLASS_NAMES

_BINS = np.linspace(0, 1, 11)


def reliability_figure(found: Collected) -> Figure:
    """ROC curves, and the share of positive slices by predicted probability."""
    with styled():
        canvas, (roc, reliability) = plt.subplots(1, 2, figsize=(8.2, 3.7), layout="constrained")
        for c, name in enumerate(CLASS_NAMES):
            use = found.known[:, c] > 0
            score, positive = found.probabilities[use, c], found.target[use, c] > 0
            if not positive.any() or positive.all():
                continue
            order = np.argsort(-score, kind="stable")
            hits = positive[order]
            roc.plot(
                np.concatenate([[0], np.cumsum(~hits) / (~hits).sum()]),
                np.concatenate([[0], np.cumsum(hits) / hits.sum()]),
                label=name,
                linewidth=1.3,
            )
            places = np.clip(np.digitize(score, _BINS) - 1, 0, 9)
            sizes = np.bincount(places, minlength=10)
            shown = sizes >= 5
            means = np.bincount(places, score, 10)[shown] / sizes[shown]
            shares = np.bincount(places, positive, 10)[shown] / sizes[shown]
            reliability.plot(means, shares, "o-", markersize=3.5, linewidth=1, label=name)
        roc.set(xlabel="false-positive rate", ylabel="true-positive rate", title="ROC", xlim=(0, 1), ylim=(0, 1.01))
        reliability.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
        reliability.set(xlabel="predicted probability", ylabel="share of positive slices", title="Calibration")
        reliability.legend(loc="upper left")
    return figure_of(
        canvas,
        "slices",
        "Slices by class",
        "Left: rates over slices with known labels. Right: bins of probability with at least five slices; on the grey "
        "line a probability means what it says.",
        "ROC and reliability curves of each class.",
    )


def volume_figure(found: Collected) -> Figure | None:
    """Called against true volume of every scan, first way; None where no volume is known."""
    way = found.ways[0]
    counts = found.counts[way.name]
    called = found.per_scan(counts.called[:, 0] * found.voxel_ml)
    true = found.per_scan(counts.truth[:, 0] * found.voxel_ml)
    kept = found.judged[:, 0] & np.isfinite(true)
    if not kept.any():
        return None
    with styled():
        canvas, (scatter, difference) = plt.subplots(1, 2, figsize=(8.2, 3.6), layout="constrained")
        most = max(1.0, float(np.max([true[kept], called[kept]]))) * 1.05
        scatter.plot([0, most], [0, most], color="#888888", linewidth=0.8)
        scatter.plot(true[kept], called[kept], "o", markersize=4, alpha=0.7)
        scatter.set(xlabel="true, mL", ylabel="called, mL", title="Any hemorrhage, by scan")
        mean, apart = (called + true)[kept] / 2, (called - true)[kept]
        difference.plot(mean, apart, "o", markersize=4, alpha=0.7)
        spread = 1.96 * float(apart.std(ddof=1)) if apart.size > 1 else 0.0
        for level, style in ((0.0, "-"), (spread, "--"), (-spread, "--")):
            difference.axhline(float(apart.mean()) + level, color="#888888", linewidth=0.8, linestyle=style)
        difference.set(xlabel="mean of both, mL", ylabel="called − true, mL", title="Bland-Altman")
    return figure_of(
        canvas,
        "volumes",
        f"Volumes: {way.name}",
        "Left: on the grey line both agree. Right: bias and its 95 % limits of agreement.",
        "Called against true volume, and their difference against their mean.",
    )
