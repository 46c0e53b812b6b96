from __future__ import annotations

import numpy as np
from hemocam_training.metrics import auroc, dice, youden_threshold
from hemocam_training.scan_sources import target_and_known


def test_scores_agree_with_their_definitions() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.9, 0.8])
    positive = np.array([False, False, False, True, True])
    assert auroc(scores, positive) == 1.0
    assert 0.3 <= youden_threshold(scores, positive) < 0.8
    assert dice(2, 4, 4) == 0.5


def test_lesions_too_small_to_be_called_do_not_count() -> None:
    areas = np.array([[0, 0, 0, 0, 0], [5, 0, 0, 0, 0], [30, 0, 5, 0, 0]], np.float32)
    areas = np.concatenate([areas.sum(axis=1, keepdims=True), areas], axis=1)
    target, known = target_and_known((areas > 0).astype(np.int8), areas, np.ones(3, bool))
    assert target.tolist() == [[0] * 6, [0] * 6, [1, 1, 0, 0, 0, 0]]
    assert known.tolist() == [[1] * 6, [0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1]]


def test_what_a_reader_said_of_a_small_lesion_counts() -> None:
    target, known = target_and_known(np.array([[1, 1, 0, 0, 0, -1]], np.int8), np.full((1, 6), 3.0), np.zeros(1, bool))
    assert target.tolist() == [[1, 1, 0, 0, 0, 0]]
    assert known.tolist() == [[1, 1, 1, 1, 1, 0]]
