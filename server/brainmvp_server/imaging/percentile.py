"""Exact percentiles of a volume without sorting it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.volume import Volume

_PIECE = 1 << 19


def order_statistics(stored: NDArray[Any], ranks: Sequence[int]) -> NDArray[Any]:
    """The values at some ranks (0 is the smallest) of an array of finite numbers.

    Integers of one or two bytes are counted, 32-bit floats are selected by radix; both are exact
    and several times as fast as a partition.
    """
    flat = stored.ravel(order="K")
    if stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        return _by_counting(flat, ranks)
    if stored.dtype == np.float32:
        return _by_radix(flat, ranks)
    return np.partition(flat, sorted(set(ranks)))[list(ranks)]


def percentile_ranks(count: int, percentile: float) -> tuple[int, int, float]:
    """The two ranks around a percentile and the weight of the upper one (linear interpolation)."""
    place = percentile / 100.0 * (count - 1)
    low = int(np.floor(place))
    return low, min(low + 1, count - 1), place - low


def value_percentiles(
    volume: Volume, stored: NDArray[Any], percentiles: Sequence[float]
) -> tuple[float, ...]:
    """Percentiles of the values that some stored voxels of a volume mean."""
    ranks = [percentile_ranks(stored.size, percentile) for percentile in percentiles]
    places = [rank for low, high, _ in ranks for rank in (low, high)]
    if volume.slope < 0:  # the order of values is the reverse of the order of what is stored
        places = [stored.size - 1 - place for place in places]
    values = volume.values(order_statistics(stored, places)).astype(np.float64)
    return tuple(
        float(values[2 * i] + weight * (values[2 * i + 1] - values[2 * i]))
        for i, (_, _, weight) in enumerate(ranks)
    )


def _by_counting(flat: NDArray[Any], ranks: Sequence[int]) -> NDArray[Any]:
    unsigned = np.dtype(f"u{flat.dtype.itemsize}")
    counts = _counted(flat.view(unsigned))
    values = np.arange(counts.size, dtype=unsigned).view(flat.dtype)
    if flat.dtype.kind == "i":  # the upper half of the codes are the negative numbers
        values, counts = (np.roll(codes, counts.size // 2) for codes in (values, counts))
    return values[np.searchsorted(np.cumsum(counts), ranks, side="right")]


def _by_radix(flat: NDArray[np.float32], ranks: Sequence[int]) -> NDArray[np.float32]:
    """Two rounds of counting, over the upper and then the lower half of the sortable bits."""
    bits = flat.view(np.uint32)
    upper = (bits >> np.uint32(16)).astype(np.uint16)
    counts = _counted(upper)
    order = _float_order()
    upto = np.cumsum(counts[order])
    found: dict[int, np.float32] = {}
    for rank in set(ranks):
        place = int(np.searchsorted(upto, rank, side="right"))
        bucket = int(order[place])
        within = rank - (int(upto[place - 1]) if place else 0)
        lower = (bits[upper == bucket] & np.uint32(0xFFFF)).astype(np.uint16)
        lower_upto = np.cumsum(np.bincount(lower, minlength=1 << 16))
        if bucket & 0x8000:  # among negative numbers, larger bits are smaller values
            within = lower.size - 1 - within
        low_bits = int(np.searchsorted(lower_upto, within, side="right"))
        found[rank] = np.uint32(bucket << 16 | low_bits).view(np.float32)
    return np.array([found[rank] for rank in ranks], dtype=np.float32)


def _counted(codes: NDArray[Any]) -> NDArray[np.intp]:
    """How often each code occurs; in pieces, because bincount widens what it counts to 64 bits."""
    counts = np.zeros(1 << 8 * codes.dtype.itemsize, dtype=np.intp)
    for start in range(0, codes.size, _PIECE):
        counts += np.bincount(codes[start : start + _PIECE], minlength=counts.size)
    return counts


def _float_order() -> NDArray[np.intp]:
    """Upper halves of float32 bit patterns in the order of the values they start."""
    negative = np.arange(0xFFFF, 0x7FFF, -1)
    return np.concatenate((negative, np.arange(0x8000))).astype(np.intp)
