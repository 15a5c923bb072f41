"""The measure two images are compared by, and the climb to where it is highest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.preparation.climb import climb
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.similarity import BothWays, OneWay
from brainmvp_server.preparation.working import WorkingImage

HERE = RigidTransform.identity()
NOWHERE = RigidTransform.of_rotation(np.zeros(3), np.array([900.0, 0, 0]), np.zeros(3))


@pytest.fixture(scope="module")
def brain(colin27: Path) -> WorkingImage:
    return WorkingImage.of(read_nifti(colin27, Modality.T1), 4.0)


def _noise(image: WorkingImage) -> WorkingImage:
    random = np.random.default_rng(0).random(image.voxels.shape, dtype=np.float32)
    return WorkingImage(random, image.affine)


def test_an_image_tells_all_of_its_inverse_and_nothing_of_noise(brain: WorkingImage) -> None:
    inverse = WorkingImage(1 - brain.voxels, brain.affine)
    itself, inverted, noise = (
        OneWay(brain, other, 20_000).score(HERE) for other in (brain, inverse, _noise(brain))
    )
    assert inverted == pytest.approx(itself, abs=0.01)
    assert itself > 1.5
    assert noise < 1.01


def test_images_that_do_not_overlap_have_nothing_in_common(brain: WorkingImage) -> None:
    assert OneWay(brain, brain, 20_000).score(NOWHERE) == 1
    empty = WorkingImage(np.zeros((9, 9, 9), np.float32), np.eye(4))
    assert OneWay(empty, empty, 500).score(HERE) == 1


def test_both_ways_say_the_same_whichever_image_is_the_reference(brain: WorkingImage) -> None:
    other = WorkingImage(brain.voxels[:, :, ::2] ** 2, brain.affine @ np.diag([1, 1, 2, 1]))
    turned = RigidTransform.of_rotation(np.array([4.0, 2, 9]), np.array([5.0, 0, 1]), np.zeros(3))
    one = BothWays(brain, other, 20_000).score(turned)
    assert BothWays(other, brain, 20_000).score(turned.inverse) == pytest.approx(one, abs=1e-9)


NEAR = st.floats(-12, 12)


@given(st.tuples(NEAR, NEAR, NEAR), st.tuples(NEAR, NEAR, NEAR))
@settings(deadline=None, max_examples=8)
def test_the_climb_ends_at_the_top_and_never_below_its_start(
    brain: WorkingImage, degrees: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    centre = brain.centre_of_mass
    start = RigidTransform.of_rotation(np.array(degrees), np.array(shift), centre)
    similarity = OneWay(brain, brain, 10_000)
    found, score = climb(similarity, start, step=4, last=0.1)
    assert score == similarity.score(found) >= similarity.score(start)
    assert found.moved(brain.head) < 0.5
