from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hemocam_training.errors import DataRefused
from hemocam_training.phantoms import InsertedLesions, Phantom, insert_lesions, make_phantom

from HemoCAMLib.ct import read_head_ct
from HemoCAMLib.subtypes import SUBTYPE_NAMES, subtype_named

SIZE = 128


@pytest.fixture(scope="module")
def healthy() -> Phantom:
    """A head without bleeding, with noise, in the place of a user's own negative scan."""
    return make_phantom(11, SIZE, SIZE, ())


def _inserted(scan: Phantom, seed: int, subtypes: tuple[str, ...]) -> InsertedLesions:
    return insert_lesions(scan.hu, scan.geometry, np.random.default_rng(seed), subtypes)


def test_volumes_are_those_of_the_labels_and_only_what_was_asked_for_bleeds(healthy: Phantom) -> None:
    for name in SUBTYPE_NAMES:
        bled = _inserted(healthy, 3, (name,))
        assert set(np.unique(bled.labels)) <= {0, subtype_named(name).label}
        counts = (bled.labels > 0).sum(axis=(1, 2))
        expected = float(counts @ healthy.geometry.extents_mm) * healthy.geometry.pixel_area_mm2 / 1000
        assert bled.volumes_ml[name] == pytest.approx(expected)
        assert sum(bled.volumes_ml.values()) == pytest.approx(bled.volumes_ml[name])


def test_blood_is_denser_than_what_it_replaced_and_the_noise_stays(healthy: Phantom) -> None:
    bled = next(b for b in (_inserted(healthy, seed, ("IPH",)) for seed in range(9)) if b.volumes_ml["IPH"] > 8)
    inside = bled.labels > 0
    assert 45 < np.median(bled.hu[inside]) < 72
    assert np.median(healthy.hu[inside]) < 42
    # Neighbours differ by noise alone: as much within the clot as in the brain it lies in.
    pairs = inside[:, :, 1:] & inside[:, :, :-1]
    steps = (np.abs(np.diff(hu.astype(float), axis=2))[pairs] for hu in (healthy.hu, bled.hu))
    rough_before, rough_after = map(np.median, steps)
    assert 0.6 * rough_before < rough_after < 1.6 * rough_before


def test_nothing_changes_outside_the_skull(healthy: Phantom) -> None:
    bled = _inserted(healthy, 4, ("SDH", "IPH", "SAH"))
    changed = bled.hu != healthy.hu
    assert changed.any()
    assert not (changed & (healthy.noise_free > 400)).any()
    assert not (changed & (healthy.noise_free < -300)).any()


def test_the_same_chance_gives_the_same_lesions(healthy: Phantom) -> None:
    first, again, other = (_inserted(healthy, seed, ("EDH",)) for seed in (5, 5, 6))
    assert np.array_equal(first.hu, again.hu)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


def test_a_scan_without_a_brain_is_refused(healthy: Phantom) -> None:
    with pytest.raises(DataRefused, match="No brain"):
        insert_lesions(np.full_like(healthy.hu, -1000), healthy.geometry, np.random.default_rng(0))


def test_lesions_fit_a_real_scan_with_tilt_and_uneven_steps(shared_data: Path) -> None:
    scan = read_head_ct(shared_data / "ge_tilt_headct_dicom")
    hu = scan.hu
    bled = insert_lesions(hu, scan.geometry, np.random.default_rng(0), ("IPH",))
    assert 0.5 < bled.volumes_ml["IPH"] < 60
    inside = bled.labels > 0
    assert np.median(bled.hu[inside]) > np.median(hu[inside]) + 12
    assert (bled.hu == hu).mean() > 0.95
