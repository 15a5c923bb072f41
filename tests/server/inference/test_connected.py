"""Connected parts, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from brainmvp_server.inference.connected import connected, kept_parts

masks = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7))
STRUCTURES = {6: ndimage.generate_binary_structure(3, 1), 26: np.ones((3, 3, 3), bool)}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lone_voxels_in_one_line_are_parts_of_their_own(axis: int) -> None:
    shape = [1, 1, 1]
    shape[axis] = 7
    line = np.array([True, False] * 3 + [True]).reshape(shape)
    assert connected(line)[1] == 4
    assert not kept_parts(line, 2).any()
    assert np.array_equal(kept_parts(line, 1), line)


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
    assert np.array_equal(kept_parts(mask, fewest), kept)


@given(st.data(), array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7))
def test_a_part_without_a_sure_voxel_is_left_out_as_by_hysteresis_thresholding(
    data: st.DataObject, shape: tuple[int, int, int]
) -> None:
    values = data.draw(arrays(np.float32, shape, elements=st.sampled_from([0.1, 0.5, 0.9])))
    part, sure = values > 0.4, values > 0.8
    labels, _ = ndimage.label(part, STRUCTURES[26])
    expected = np.isin(labels, np.unique(labels[sure])) & part
    assert np.array_equal(kept_parts(part, 0, sure), expected)
    assert np.array_equal(kept_parts(np.asfortranarray(part), 0, sure), expected)
    assert np.array_equal(kept_parts(part, 3, sure), expected & kept_parts(part, 3))


def test_a_sure_voxel_outside_a_part_keeps_nothing() -> None:
    part, sure = np.zeros((2, 5, 5, 5), bool)
    part[1, 1, 1], sure[3, 3, 3] = True, True
    assert not kept_parts(part, 1, sure).any()
