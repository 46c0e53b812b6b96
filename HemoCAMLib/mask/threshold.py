"""The threshold of one map by a rule: percentiles, Otsu's methods, local neighbourhoods.

scikit-image is imported when a rule needs it, so that nothing else waits for it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from HemoCAMLib.mask.threshold_rule import ThresholdRule

Scores = NDArray[np.float64]

#: Bins of the histogram that Otsu's methods work on.
OTSU_BINS = 256

#: What a cell must exceed its neighbourhood by, as a share of the map's range: a plateau is not its own peak,
#: whatever rounding says.
SMALLEST_CONTRAST = 1e-9


def map_threshold(scores: Scores, rule: ThresholdRule, counted: NDArray[np.bool_] | None = None) -> float | Scores:
    """The score that a cell of a map must exceed.

    A map that is constant where it is counted says nothing about where anything is: its threshold is infinite, so
    that nothing exceeds it.

    Args:
        scores: [h, w] finite scores of one subtype, at the map's own size.
        rule: any but ``fixed``, whose thresholds are not found in the map.
        counted: [h, w] cells that the statistics are taken on; None for all. The adaptive rule takes all.

    Returns:
        One number, or [h, w] a threshold for every cell (adaptive).

    Sources: percentiles and mean: the brain-tumour CAM study, section 2. Otsu, IEEE Trans. Systems, Man, Cybernetics
    9(1), 1979. Multi-Otsu: Liao et al., J. Information Science and Engineering 17, 2001. All but the percentiles and
    the mean by scikit-image.

    >>> map_threshold(np.arange(101.0).reshape(1, 101), ThresholdRule("percentile", percentile=90))
    90.0
    >>> map_threshold(np.full((4, 4), 7.0), ThresholdRule("otsu"))
    inf
    """
    values = scores.ravel() if counted is None or rule.name == "adaptive" else scores[counted]
    if values.size == 0 or values.min() == values.max():
        return math.inf
    if rule.name == "mean":
        return float(values.mean())
    if rule.name == "percentile":
        return float(np.percentile(values, rule.percentile))
    if rule.name == "adaptive":
        return _adaptive(scores, rule)
    return _otsu(values, 2 if rule.name == "otsu" else rule.classes)


def cells_in(brain: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """[h, w] cells of a map over the whole image whose centre lies in the [rows, columns] brain mask."""
    rows, columns = (
        ((np.arange(cells) + 0.5) * (pixels / cells)).astype(np.intp)
        for cells, pixels in zip(shape, brain.shape, strict=True)
    )
    return brain[np.ix_(rows, columns)]


def _otsu(values: Scores, classes: int) -> float:
    """The highest threshold of Otsu's method for several classes; a map of fewer values has fewer classes."""
    from skimage.exposure import histogram
    from skimage.filters import threshold_multiotsu, threshold_otsu

    counts, centers = histogram(values, nbins=OTSU_BINS)
    classes = min(classes, int(np.count_nonzero(counts)))
    if classes < 3:
        return float(threshold_otsu(hist=(counts, centers)))
    return float(threshold_multiotsu(classes=classes, hist=(counts, centers))[-1])


def _adaptive(scores: Scores, rule: ThresholdRule) -> Scores:
    from skimage.filters import threshold_local

    local: Scores = threshold_local(scores, rule.block, method=rule.method, offset=rule.offset)
    return local + SMALLEST_CONTRAST * float(np.ptp(scores))
