"""Windows and masks: where they lie, what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_training.masking import block_mask
from brainmvp_training.prepared import PreparedStudy
from brainmvp_training.windows import WindowPlace, centre_shift, draw_window

edges = st.integers(8, 40)


def study(shape: tuple[int, int, int], marked: tuple[int, int, int] | None = None) -> PreparedStudy:
    points = np.array([marked] if marked else np.zeros((0, 3)), np.int16).reshape(-1, 3)
    return PreparedStudy("s", Path("none"), (), shape, None, points, shape, (0, 0, 0))


@given(shape=st.tuples(edges, edges, edges), seed=st.integers(0, 9))
def test_a_window_lies_in_the_study_or_is_centred_where_the_study_is_smaller(
    shape: tuple[int, int, int], seed: int
) -> None:
    place = draw_window(study(shape), 16, np.random.default_rng(seed))
    for start, n in zip(place.start, shape, strict=True):
        if n >= 16:
            assert 0 <= start <= n - 16
        else:
            assert start == -((16 - n) // 2)


@given(shape=st.tuples(edges, edges, edges), data=st.data())
def test_a_marked_voxel_is_inside_the_window_that_is_drawn_for_it(
    shape: tuple[int, int, int], data: st.DataObject
) -> None:
    x, y, z = (data.draw(st.integers(0, n - 1)) for n in shape)
    marked = (x, y, z)
    rng = np.random.default_rng(0)
    place = draw_window(study(shape, marked), 16, rng, on_marked=1.0)
    for start, voxel in zip(place.start, marked, strict=True):
        assert start <= voxel < start + 16


@given(start=st.tuples(*(st.integers(-30, 50) for _ in range(3))))
def test_a_window_beyond_the_volume_holds_its_voxels_and_zeros(start: tuple[int, int, int]) -> None:
    volume = 1 + np.arange(20 * 21 * 22, dtype=np.int64).reshape(20, 21, 22)
    padded = np.pad(volume, 60)
    x, y, z = (s + 60 for s in start)
    np.testing.assert_array_equal(
        WindowPlace(start, 8).cut(volume), padded[x : x + 8, y : y + 8, z : z + 8]
    )


def test_centres_are_aligned_as_the_published_pre_training_aligns_them() -> None:
    assert centre_shift((140, 175, 151), (240, 240, 155)) == (50, 32, 2)
    assert WindowPlace((1, 2, 3), 8).shifted((50, 32, 2)).start == (51, 34, 5)


@given(rate=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_mask_hides_whole_blocks_at_the_published_rate(rate: float, seed: int) -> None:
    mask = block_mask(32, 8, rate, torch.Generator().manual_seed(seed))
    blocks = mask.reshape(4, 8, 4, 8, 4, 8).movedim((0, 2, 4), (0, 1, 2)).reshape(64, 512)
    assert bool((blocks.all(1) | ~blocks.any(1)).all())
    assert int(blocks.any(1).sum()) == 64 - int(64 * (1 - rate))


def test_a_mask_is_another_one_each_time_and_refuses_what_does_not_divide() -> None:
    assert not torch.equal(block_mask(32, 8, 0.5), block_mask(32, 8, 0.5))
    with pytest.raises(ValueError, match="does not divide"):
        block_mask(30, 8, 0.8)
