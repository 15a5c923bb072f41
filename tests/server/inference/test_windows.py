"""Windows lie where MONAI's lie, and blending is their mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers.utils import _get_scan_interval

from brainmvp_models.task import Window
from brainmvp_server.inference.windows import Blend, WindowPlan

SHAPES = st.tuples(*[st.integers(20, 330)] * 3)


@given(SHAPES, st.sampled_from((0.0, 0.25, 0.5, 0.75)))
@settings(deadline=None)
def test_windows_are_monais_in_monais_order(shape: tuple[int, int, int], overlap: float) -> None:
    plan = WindowPlan.of(shape, Window(overlap=overlap))
    size = (96, 96, 96)
    interval = _get_scan_interval(plan.padded, size, 3, (overlap,) * 3)
    assert list(plan.slices()) == list(dense_patch_slices(plan.padded, size, interval))
    assert len(plan) == len(list(plan.slices()))


def test_a_small_volume_is_padded_on_both_sides_and_comes_back_whole() -> None:
    plan = WindowPlan.of((21, 96, 100), Window())
    image = np.random.default_rng(0).random((2, 21, 96, 100)).astype(np.float32)
    padded = plan.pad(image)
    assert padded.shape == (2, 96, 96, 100)
    np.testing.assert_array_equal(padded[:, 37:58], image)  # 75 zeros: 37 before, 38 after
    assert padded[:, :37].max() == padded[:, 58:].max() == 0
    np.testing.assert_array_equal(plan.unpad(padded), image)


@pytest.mark.parametrize("shape", [(32, 48, 33), (16, 70, 50)])
def test_blending_is_the_mean_of_the_windows_that_cover_a_voxel(
    shape: tuple[int, int, int],
) -> None:
    plan = WindowPlan.of(shape, Window(size=(32, 32, 32)))
    rng = np.random.default_rng(1)
    blend, total = Blend(plan, 2), np.zeros((2, *plan.padded))
    count = np.zeros(plan.padded)
    for place in plan.slices():
        logits = rng.standard_normal((2, 32, 32, 32)).astype(np.float32)
        blend.add(place, logits)
        total[(slice(None), *place)] += logits
        count[place] += 1
    np.testing.assert_allclose(blend.mean(), plan.unpad(total / count), atol=1e-5)
