"""Rigid transforms: composed, turned round, and told to other tools and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.errors import InvalidVolume
from brainmvp_server.preparation.rigid import RigidTransform

ANGLES = st.floats(-179, 179)
MM = st.floats(-300, 300)
TRIPLES = st.tuples(MM, MM, MM).map(np.array)
POINTS = np.random.default_rng(0).uniform(-120, 120, (20, 3))


@st.composite
def transforms(draw: st.DrawFn) -> RigidTransform:
    degrees = np.array(draw(st.tuples(ANGLES, ANGLES, ANGLES)))
    return RigidTransform.of_rotation(degrees, draw(TRIPLES), draw(TRIPLES))


@given(transforms(), transforms())
@settings(deadline=None)
def test_after_is_the_one_transform_and_then_the_other(
    one: RigidTransform, two: RigidTransform
) -> None:
    np.testing.assert_allclose(two.after(one).apply(POINTS), two.apply(one.apply(POINTS)))
    np.testing.assert_allclose(one.inverse.apply(one.apply(POINTS)), POINTS, atol=1e-8)


@given(transforms())
@settings(deadline=None)
def test_distances_between_points_stay_so_that_no_brain_changes_its_size(
    transform: RigidTransform,
) -> None:
    before = np.linalg.norm(POINTS[1:] - POINTS[:-1], axis=1)
    after = np.linalg.norm(np.diff(transform.apply(POINTS), axis=0), axis=1)
    np.testing.assert_allclose(after, before)


@given(transforms())
@settings(deadline=None)
def test_both_texts_give_the_transform_back(transform: RigidTransform) -> None:
    for text in (transform.to_text(), transform.to_itk()):
        assert RigidTransform.from_text(text).apart(transform, POINTS) < 1e-5


@given(transforms())
@settings(deadline=None, max_examples=20)
def test_itk_moves_points_as_we_do_by_the_file_it_is_given(
    tmp_path_factory: pytest.TempPathFactory, transform: RigidTransform
) -> None:
    path = tmp_path_factory.mktemp("itk") / "t.tfm"
    path.write_text(transform.to_itk())
    theirs = sitk.ReadTransform(str(path))
    lps = np.array([-1, -1, 1])
    moved = [np.array(theirs.TransformPoint((point * lps).tolist())) * lps for point in POINTS]
    np.testing.assert_allclose(moved, transform.apply(POINTS), atol=1e-6)


def test_an_euler_transform_of_itk_is_read_with_its_centre(tmp_path: Path) -> None:
    theirs = sitk.Euler3DTransform((10.0, -20.0, 30.0), 0.1, -0.3, 0.7, (4.0, 5.0, -6.0))
    sitk.WriteTransform(theirs, str(tmp_path / "t.tfm"))
    ours = RigidTransform.from_text((tmp_path / "t.tfm").read_text())
    lps = np.array([-1, -1, 1])
    moved = [np.array(theirs.TransformPoint((point * lps).tolist())) * lps for point in POINTS]
    np.testing.assert_allclose(ours.apply(POINTS), moved, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is no 4 × 4 matrix"),
        ("1 0 0\n0 1 0\n0 0 1\n", "is no 4 × 4 matrix"),
        ("1 0 0 x\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "is no 4 × 4 matrix"),
        ("1 0 0 nan\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "is no 4 × 4 matrix"),
        ("1.1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "scales, shears or mirrors"),
        ("-1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "scales, shears or mirrors"),
        ("#Insight Transform File V1.0\nTransform: BSplineTransform_double_3_3\n", "is no 4 × 4"),
    ],
)
def test_a_file_that_would_bend_a_head_or_says_nothing_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidVolume, match=problem):
        RigidTransform.from_text(text)


def test_degrees_and_distances_are_what_was_asked_for() -> None:
    turned = RigidTransform.of_rotation(np.array([0, 0, 25.0]), np.zeros(3), np.zeros(3))
    assert turned.degrees == pytest.approx(25)
    np.testing.assert_allclose(turned.apply(np.array([1.0, 0, 0]))[1], np.sin(np.radians(25)))
    shifted = RigidTransform.of_rotation(np.zeros(3), np.array([3.0, 4, 0]), np.zeros(3))
    assert shifted.moved(POINTS) == pytest.approx(5)
