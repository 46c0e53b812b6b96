"""How well slices of a validation set are told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemocam_training.metrics import auroc

#: Probability from which a class is called, for F1.
CALLED = 0.5


def classification_scores(
    probabilities: NDArray[np.floating], target: NDArray[np.float32], known: NDArray[np.float32], names: list[str]
) -> dict[str, Any]:
    """Scores by class on the labels that are known.

    Args:
        probabilities, target, known: [slice, class].
        names: of the classes.

    Returns:
        ``auroc`` and ``f1`` by class name (None where a class has not both labels, or is neither called nor there),
        ``mean_auroc`` and ``mean_f1`` over those that have one, ``validation_loss`` (binary cross entropy).
    """
    areas: dict[str, float | None] = {}
    f1: dict[str, float | None] = {}
    for c, name in enumerate(names):
        counted = known[:, c] > 0
        positive, found = target[counted, c] > 0, probabilities[counted, c]
        areas[name] = _rounded(auroc(found, positive))
        called = found >= CALLED
        both = int(called.sum() + positive.sum())
        f1[name] = _rounded(2 * int((called & positive).sum()) / both if both else float("nan"))
    inside = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    loss = -(target * np.log(inside) + (1 - target) * np.log(1 - inside))
    mean = float((loss * known).sum() / max(1.0, float(known.sum())))
    return {
        "auroc": areas,
        "f1": f1,
        "mean_auroc": _mean(areas),
        "mean_f1": _mean(f1),
        "validation_loss": round(mean, 5),
    }


def mask_scores(common: NDArray[np.float64], both: NDArray[np.float64], loss: float) -> dict[str, Any]:
    """Dice by class number over all pixels of a set; background (class 0) does not count towards the mean.

    Args:
        common: [class] pixels that are predicted and true; both: [class] predicted plus true pixels.
        loss: mean loss.
    """
    dice = {str(c): _rounded(2 * common[c] / both[c] if both[c] else float("nan")) for c in range(1, len(common))}
    return {"dice": dice, "mean_f1": _mean(dice), "mean_auroc": None, "validation_loss": round(loss, 5)}


def _mean(values: dict[str, float | None]) -> float | None:
    found = [value for value in values.values() if value is not None]
    return round(float(np.mean(found)), 4) if found else None


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
