"""Connected parts, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from brainmvp_server.inference.connected import connected, without_specks

masks = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7))
STRUCTURES = {6: ndimage.generate_binary_structure(3, 1), 26: np.ones((3, 3, 3), bool)}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lone_voxels_in_one_line_are_parts_of_their_own(axis: int) -> None:
    shape = [1, 1, 1]
    shape[axis] = 7
    line = np.array([True, False] * 3 + [True]).reshape(shape)
    assert connected(line)[1] == 4
    assert not without_specks(line, 2).any()
    assert np.array_equal(without_specks(line, 1), line)


@given(masks, st.sampled_from([6, 26]), st.booleans())
def test_parts_are_those_that_scipy_finds(mask: np.ndarray, neighbours: int, fortran: bool) -> None:
    labels, count = connected(np.asfortranarray(mask) if fortran else mask, neighbours)
    expected, wanted = ndimage.label(mask, STRUCTURES[neighbours])
    assert count == wanted and np.array_equal(labels > 0, mask)
    pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})


@given(masks, st.integers(1, 6))
def test_a_part_is_kept_by_its_size_alone(mask: np.ndarray, fewest: int) -> None:
    expected, count = ndimage.label(mask, STRUCTURES[26])
    sizes = np.bincount(expected.ravel(), minlength=count + 1)
    kept = (sizes >= fewest)[expected] & mask
    assert np.array_equal(without_specks(mask, fewest), kept)
