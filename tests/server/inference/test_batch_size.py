"""The batch that a GPU is found to be fastest with."""

from __future__ import annotations

import time

import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineFailed
from brainmvp_server.inference.batch_size import candidates, fastest_batch
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.engines import EngineInfo
from brainmvp_server.inference.network_cache import NetworkCache, network_bytes


def test_the_batch_with_most_windows_a_second_is_taken() -> None:
    taken = {1: 1.0, 2: 1.4, 4: 2.2, 8: 4.6, 16: 9.4}
    assert fastest_batch(taken.__getitem__, (1, 2, 4, 8, 16)) == 4


def test_a_larger_batch_that_gains_next_to_nothing_is_not_taken() -> None:
    assert fastest_batch(lambda windows: windows * 0.99, (1, 2, 4)) == 1


def test_a_batch_beyond_the_gpus_memory_ends_the_search_but_not_the_work() -> None:
    tried = []

    def seconds(windows: int) -> float:
        tried.append(windows)
        if windows > 2:
            raise EngineFailed("out of memory", remedy="-")
        return 1.0

    assert fastest_batch(seconds, (1, 2, 4, 8)) == 2
    assert tried == [1, 2, 4]


def test_an_engine_that_fails_on_one_window_is_no_engine() -> None:
    def seconds(_: int) -> float:
        raise EngineFailed("broken", remedy="-")

    with pytest.raises(EngineFailed):
        fastest_batch(seconds, (1, 2))


@pytest.mark.parametrize(
    ("most", "room", "tried"),
    [(None, 99, (1, 2, 4, 8, 16, 32)), (8, 99, (1, 2, 4, 8)), (None, 5, (1, 2, 4)), (8, 0, (1,))],
)
def test_batches_are_tried_up_to_the_plan_and_the_memory(
    most: int | None, room: int, tried: tuple[int, ...]
) -> None:
    assert candidates(most, lambda windows: windows <= room) == tried


class Steady:
    """An engine on a GPU that takes as long for four windows as for one."""

    info = EngineInfo("steady", "NVIDIA L4", "fp32", windows=4)

    def infer(self, windows: np.ndarray) -> np.ndarray:
        time.sleep(0.05)
        return windows[:, :3]

    def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize(("asked", "taken"), [(None, 4), (2, 2)])
def test_a_network_on_a_gpu_takes_the_batch_that_was_measured_unless_one_is_set(
    tiny_bundle: Bundle, asked: int | None, taken: int
) -> None:
    networks = NetworkCache(lambda _: Steady(), windows=asked)
    with networks.acquire(tiny_bundle, CancelToken()) as network:
        assert network.batch == taken
        assert network.bytes == network_bytes(tiny_bundle, taken)
        assert len(network.room()) == taken
    networks.close()


def test_a_budget_bounds_the_batch_that_is_tried(tiny_bundle: Bundle) -> None:
    networks = NetworkCache(lambda _: Steady(), budget=network_bytes(tiny_bundle, 2))
    with networks.acquire(tiny_bundle, CancelToken()) as network:
        assert network.batch == 2
    networks.close()
