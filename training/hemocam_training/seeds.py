"""Seeds of the phantoms by what they are for: no phantom that a network learned from tunes or tests it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hemocam_training.errors import LeakFound

TRAINING_SEED, VALIDATION_SEED, TEST_SEED, SAMPLE_SEED = 1_000_000, 2_000_000, 3_000_000, 4_000_000

#: Validation phantoms used for tuning lie beyond those that training looks at between checkpoints.
TUNING_SEED = VALIDATION_SEED + 10_000

_FIRST = {
    "training": TRAINING_SEED,
    "validation": VALIDATION_SEED,
    "tuning": TUNING_SEED,
    "test": TEST_SEED,
    "sample": SAMPLE_SEED,
}


def seed_part(seed: int) -> str:
    """What a seed is for; empty below the first set.

    >>> seed_part(2_010_003)
    'tuning'
    """
    return max((first, part) for part, first in {**_FIRST, "": -1}.items() if first <= seed)[1]


def refuse_other_parts(seeds: Iterable[int], *allowed: str) -> None:
    """Refuse seeds that are for something else.

    Raises:
        LeakFound: ``TRAIN_SEED_PART``.
    """
    for seed in seeds:
        part = seed_part(seed)
        if part not in allowed:
            meant = part or "nothing in particular"
            raise LeakFound(
                "TRAIN_SEED_PART",
                f"The phantom with seed {seed} is for {meant}, not for {' or '.join(allowed)}.",
                "Take seeds from " + " or ".join(f"{_FIRST[name]} on ({name})" for name in allowed) + ".",
            )


def refuse_seen_seeds(training_data: Iterable[Mapping[str, Any]], seeds: Iterable[int]) -> None:
    """Refuse phantoms that a bundle names among its data, for learning or for tuning.

    Args:
        training_data: entries of the bundle; those with ``first_seed`` and ``scans`` are phantoms.
        seeds: of the phantoms to evaluate on.

    Raises:
        LeakFound: ``TRAIN_LEAK``.
    """
    used = [
        range(int(entry["first_seed"]), int(entry["first_seed"]) + int(entry["scans"]))
        for entry in training_data
        if "first_seed" in entry and "scans" in entry
    ]
    seen = [seed for seed in seeds if any(seed in one for one in used)]
    if seen:
        raise LeakFound(
            "TRAIN_LEAK",
            f"{len(seen)} of the phantoms were used to make the model; the first has seed {seen[0]}.",
            "Take other seeds.",
        )
