"""Percentiles without sorting are exact for every type a file can hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainmvp_server.imaging.percentile import order_statistics, percentile_ranks

TYPES = ("u1", "i1", "u2", "i2", "i4", "f4", "f8")


@pytest.mark.parametrize("dtype", TYPES)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_order_statistics_equal_a_sort(dtype: str, data: st.DataObject) -> None:
    kind = np.dtype(dtype)
    numbers = {"allow_nan": False, "allow_infinity": False} if kind.kind == "f" else {}
    shape = st.tuples(*[st.integers(1, 5)] * 3)
    elements = hnp.from_dtype(kind, **numbers)  # type: ignore[arg-type]
    stored = data.draw(hnp.arrays(kind, shape, elements=elements))
    stored = np.asarray(stored, order=data.draw(st.sampled_from("CF")))
    ranks = data.draw(st.lists(st.integers(0, stored.size - 1), min_size=1, max_size=4))
    found = order_statistics(stored, ranks)
    np.testing.assert_array_equal(found, np.sort(stored, axis=None)[ranks])


@pytest.mark.parametrize("percentile", [0, 5, 33.3, 95, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_ranks_and_weight_give_numpys_linear_percentile(percentile: float, count: int) -> None:
    values = np.sort(np.random.default_rng(count).random(count))
    low, high, weight = percentile_ranks(count, percentile)
    mixed = values[low] + weight * (values[high] - values[low])
    assert mixed == pytest.approx(np.percentile(values, percentile))
