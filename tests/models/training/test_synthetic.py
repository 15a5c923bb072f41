"""Synthetic studies: seeded, anatomically whole, and contrasted as physics has it."""

from __future__ import annotations

import numpy as np
import pytest

from brainmvp_models.modality import Modality
from brainmvp_models.training.synthetic import Anatomy, Contrast, draw_subject, load_anatomy


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    """A quarter of the real anatomy's resolution, so that the tests are quick."""
    whole = load_anatomy()
    return Anatomy(np.ascontiguousarray(whole.tissue[:, ::2, ::2, ::2]))


@pytest.fixture(scope="module")
def subject(anatomy: Anatomy) -> Anatomy:
    return draw_subject(anatomy, np.random.default_rng(3))


def test_the_same_seed_gives_the_same_subject_and_another_gives_another(anatomy: Anatomy) -> None:
    one, same, other = (draw_subject(anatomy, np.random.default_rng(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(one.tissue, same.tissue)
    assert one.tissue.shape != other.tissue.shape or not np.allclose(one.tissue, other.tissue)


def test_tissue_shares_sum_to_one_in_the_brain_and_to_nothing_outside(subject: Anatomy) -> None:
    total = subject.tissue.sum(axis=0)
    np.testing.assert_allclose(total[subject.brain], 1, atol=1e-5)
    assert total[~subject.brain].max() == 0
    assert set(np.unique(subject.labels)) == {0, 1, 2, 3}


def test_a_subject_keeps_a_brains_proportions(subject: Anatomy) -> None:
    inside = subject.labels[subject.brain]
    csf, grey, white = (np.mean(inside == value) for value in (1, 2, 3))
    assert 0.03 < csf < 0.35 and 0.4 < grey < 0.75 and 0.2 < white < 0.5


@pytest.mark.parametrize(
    ("modality", "darkest_first"),
    [
        (Modality.T1, (1, 2, 3)),
        (Modality.T1C, (1, 2, 3)),
        (Modality.T2, (3, 2, 1)),
        (Modality.FLAIR, (1, 3, 2)),
    ],
)
def test_tissues_are_ordered_as_the_modalitys_physics_orders_them(
    subject: Anatomy, modality: Modality, darkest_first: tuple[int, ...]
) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        scan = Contrast.draw(modality, rng).paint(subject, rng)
        means = [float(scan[subject.labels == value].mean()) for value in darkest_first]
        assert means == sorted(means)


def test_background_is_exactly_zero_as_in_a_skull_stripped_scan(subject: Anatomy) -> None:
    rng = np.random.default_rng(0)
    scan = Contrast.draw(Modality.T1, rng).paint(subject, rng)
    assert np.count_nonzero(scan[~subject.brain]) == 0
    assert np.count_nonzero(scan[subject.brain]) > 0.99 * np.count_nonzero(subject.brain)
    assert scan.dtype == np.float32
