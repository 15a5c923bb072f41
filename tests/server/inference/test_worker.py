"""The inference worker: batches across studies, and engines that fail."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import (
    BrainMVPError,
    EngineFailed,
    EngineUnavailable,
    InvalidBundle,
    ServiceClosing,
    StudyCancelled,
    StudyTimedOut,
)
from brainmvp_models.task import Window
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.engines import (
    ENGINES,
    Engine,
    EngineInfo,
    Stoppable,
    installed_engines,
    load_engine,
)
from brainmvp_server.inference.engines.guarded import GuardedEngine
from brainmvp_server.inference.network_cache import NetworkCache, network_bytes
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.windows import Blend, WindowPlan
from brainmvp_server.inference.worker import Batching, Worker

Array = np.ndarray


@dataclass
class Scripted:
    """An engine that gives back its input's first three channels, after a fault of its own."""

    fault: Callable[[int], None]
    calls: int = 0
    closed: bool = False
    batches: list[int] = field(default_factory=list)
    voxels: list[float] = field(default_factory=list)
    """The first voxel of each batch."""

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("scripted", "CPU", "fp32")

    def infer(self, windows: Array) -> Array:
        self.calls += 1
        self.batches.append(len(windows))
        self.voxels.append(float(windows[0, 0, 0, 0, 0]))
        self.fault(self.calls)
        return windows[:, :3].copy()

    def close(self) -> None:
        self.closed = True


class Gate:
    """Holds an engine until it is opened, or until its block ends."""

    def __init__(self) -> None:
        self._opened = threading.Event()

    def __call__(self, _: int) -> None:
        self._opened.wait(60)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    def open(self) -> None:
        self._opened.set()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def reaches(engine: Scripted, calls: int) -> None:
    until(lambda: engine.calls == calls)


class Clock:
    """The worker's clock, which a test sets forward where an engine is to have been slow."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def forward(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture(scope="module")
def small_windows(tiny_bundle: Bundle) -> Bundle:
    """A bundle whose windows are small: what engines are scripted for needs no voxels."""
    task = tiny_bundle.task.model_copy(update={"window": Window(size=(16, 16, 16))})
    return Bundle(tiny_bundle.root, tiny_bundle.manifest.model_copy(update={"task": task}))


def faultless(_: int) -> None:
    """No fault."""


@contextmanager
def working(
    *engines: Engine, timeout_s: float = 30, windows: int = 1, clock: Clock | None = None
) -> Iterator[Worker]:
    """A worker whose networks are these engines, one a load."""
    remaining = iter(engines)
    networks = NetworkCache(lambda _: next(remaining), timeout_s=timeout_s, windows=windows)
    worker = Worker(networks, clock=clock or time.monotonic)
    try:
        yield worker
    finally:
        worker.close()


def study(seed: int = 0, shape: tuple[int, int, int] = (17, 16, 16)) -> Array:
    return np.random.default_rng(seed).random((4, *shape), dtype=np.float32)


def through(
    worker: Worker, bundle: Bundle, image: Array, cancel: CancelToken | None = None, **how: bool
) -> Array:
    """The blended logits of a study."""
    plan = WindowPlan.of(image.shape[1:], bundle.task.window)
    blend, cancel = Blend(plan, 3), cancel or CancelToken()
    with worker.networks.acquire(bundle, cancel) as network:
        run = StudyRun(network, plan, plan.pad(image), blend, cancel, **how)
        counts = list(worker.run(run))
    assert counts[-1] == len(plan) and counts == sorted(counts)
    return blend.mean()


def sigmoid(logits: Array) -> Array:
    return 1 / (1 + np.exp(-logits))


def two_models(bundle: Bundle) -> tuple[Bundle, Bundle]:
    """A bundle under two names, whose networks are not each other's."""
    one, two = (Bundle(bundle.root, bundle.manifest) for _ in range(2))
    for index, copy in enumerate((one, two)):
        copy.__dict__["digest"] = f"sha256:{index}"
    return one, two


@pytest.mark.parametrize("engine", [e for e in installed_engines() if not ENGINES[e].on_gpu])
@pytest.mark.parametrize("windows", [1, 3])
def test_a_study_gets_the_same_logits_alone_and_among_others(
    small_bundle: Bundle, engine: str, windows: int
) -> None:
    """Windows 1: bit for bit. More: runtimes order their sums by the batch's size."""
    worker = Worker(NetworkCache(engine=engine, windows=windows), Batching(wait_s=0.2))
    studies = [study(seed, shape=(32, 64, 96)) for seed in range(2)]
    alone = [through(worker, small_bundle, image) for image in studies]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda image: through(worker, small_bundle, image), studies))
    worker.close()
    for one, other in zip(alone, together, strict=True):
        if windows == 1:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(sigmoid(one), sigmoid(other), rtol=0, atol=1e-5)


def test_windows_of_several_studies_share_a_batch(small_windows: Bundle) -> None:
    gate = Gate()
    engine, shape = Scripted(gate), (16, 16, 16)
    with working(engine, windows=4) as worker, ThreadPoolExecutor(8) as pool, gate:
        coming = [pool.submit(through, worker, small_windows, study(0, shape))]
        until(lambda: engine.calls == 1)
        for seed in range(1, 8):
            coming.append(pool.submit(through, worker, small_windows, study(seed, shape)))
        until(lambda: worker.waiting >= 3)  # four are in the next batch, or will be
        gate.open()
        for seed, answer in enumerate(coming):
            np.testing.assert_array_equal(answer.result(), study(seed, shape)[:3])
    assert max(engine.batches) > 2


@dataclass
class Halting(Scripted):
    """An engine that can be stopped: its call then ends by an exception of its own."""

    stops: int = 0
    _told: threading.Event = field(default_factory=threading.Event)

    def infer(self, windows: Array) -> Array:
        self._told.clear()
        logits = super().infer(windows)
        if self._told.is_set():
            raise RuntimeError("stopped")
        return logits

    def stop(self) -> None:
        self.stops += 1
        self._told.set()

    def wait(self) -> None:
        self._told.wait(60)


def test_small_studies_stop_a_large_ones_window_twice_at_most_and_nothing_of_it_is_lost(
    small_windows: Bundle,
) -> None:
    clock, last = Clock(), threading.Event()

    def slow_or_held(call: int) -> None:
        if call in (1, 3, 5):
            clock.forward(40)  # what comes next is expected to take as long
        elif call in (2, 4):
            engine.wait()
        elif call == 6:  # the stopped window again
            last.wait(60)

    engine = Halting(slow_or_held)
    large, small = (np.full((4, n, 16, 16), n, np.float32) for n in (67, 16))
    large += np.random.default_rng(0).random(large.shape, dtype=np.float32)
    alone = Scripted(faultless)
    with working(alone) as worker:
        expected = through(worker, small_windows, large)
    with working(engine, clock=clock) as worker, ThreadPoolExecutor(3) as pool:
        first = pool.submit(through, worker, small_windows, large)
        for call in (2, 4):
            reaches(engine, call)
            pool.submit(through, worker, small_windows, small).result()
        reaches(engine, 6)
        before = worker.waiting
        second = pool.submit(through, worker, small_windows, small)
        until(lambda: worker.waiting > before)
        last.set()
        second.result()
        np.testing.assert_array_equal(first.result(), expected)
    assert engine.stops == 2
    assert [int(voxel) for voxel in engine.voxels[:7]] == [67, 67, 16, 67, 16, 67, 16]


def test_an_engine_on_a_gpu_is_not_told_to_stop_what_it_has_begun() -> None:
    class OnGpu(Halting):
        @property
        def info(self) -> EngineInfo:
            return EngineInfo("scripted", "H100", "fp32")

    gate = Gate()
    engine = OnGpu(gate)
    guarded = GuardedEngine(lambda: engine, 30)
    with gate:
        begun, waiting = (guarded.start(np.zeros((1, 4, 8, 8, 8), np.float32)) for _ in range(2))
        reaches(engine, 1)
        assert guarded.stop(waiting) and not guarded.stop(begun)
    assert guarded.finish(begun).shape == (1, 3, 8, 8, 8)
    assert engine.calls == 1 and engine.stops == 0
    guarded.close()


def test_at_the_end_networks_are_free_before_the_process_may_go_but_one_at_work_is_not_waited_for(
    tiny_bundle: Bundle,
) -> None:
    class Slow(Scripted):
        def close(self) -> None:
            time.sleep(0.3)
            super().close()

    idle = Slow(lambda _: None)
    networks = NetworkCache(lambda _: idle)
    with networks.acquire(tiny_bundle, CancelToken()):
        pass
    networks.close()
    assert idle.closed
    with Gate() as gate:
        at_work = Slow(gate)
        networks = NetworkCache(lambda _: at_work)
        with networks.acquire(tiny_bundle, CancelToken()) as network:
            network.engine.start(np.zeros((1, 4, 8, 8, 8), np.float32))
            reaches(at_work, 1)
        networks.close()
        assert not at_work.closed


@pytest.mark.parametrize("engine", [e for e in installed_engines() if not ENGINES[e].on_gpu])
def test_a_stopped_engine_gives_the_same_at_its_next_batch(
    tiny_bundle: Bundle, engine: str
) -> None:
    loaded = load_engine(tiny_bundle.forms, engine)
    image = study(shape=(96, 96, 96))[None]
    expected = loaded.infer(image).copy()
    assert isinstance(loaded, Stoppable)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(loaded.infer, image)
        while not under_way.done():
            loaded.stop()
        assert under_way.exception() is not None
    np.testing.assert_array_equal(loaded.infer(image), expected)
    loaded.close()


def throws(call: int) -> None:
    if call == 2:
        raise RuntimeError("Doe^Jane")


def hangs(call: int) -> None:
    if call == 2:
        time.sleep(2)


@dataclass
class Nonsense(Scripted):
    """Gives a NaN at its second call."""

    def infer(self, windows: Array) -> Array:
        logits = super().infer(windows)
        if self.calls == 2:
            logits[0, 0, 5, 5, 5] = np.nan
        return logits


FAULTY = [lambda: Scripted(throws), lambda: Scripted(hangs), lambda: Nonsense(faultless)]


@pytest.mark.parametrize("faulty", FAULTY, ids=["throws", "hangs", "nonsense"])
def test_an_engine_that_fails_is_replaced_and_the_study_comes_out_right(
    small_windows: Bundle, faulty: Callable[[], Scripted]
) -> None:
    fresh = Scripted(faultless)
    with working(faulty(), fresh, timeout_s=0.5) as worker:
        image = study(shape=(25, 16, 16))
        np.testing.assert_allclose(through(worker, small_windows, image), image[:3], atol=1e-6)
        assert fresh.calls > 0 and not fresh.closed


@pytest.mark.parametrize("faulty", FAULTY, ids=["throws", "hangs", "nonsense"])
def test_a_study_that_fails_twice_ends_with_a_reason_and_the_next_one_is_served(
    small_windows: Bundle, faulty: Callable[[], Scripted]
) -> None:
    second = faulty()
    second.calls = 1
    with working(faulty(), second, Scripted(faultless), timeout_s=0.5) as worker:
        with pytest.raises(EngineFailed) as failed:
            through(worker, small_windows, study(shape=(25, 16, 16)))
        assert "Doe" not in str(failed.value)
        image = study(1)
        np.testing.assert_array_equal(through(worker, small_windows, image), image[:3])


def test_an_engine_that_cannot_be_loaded_again_fails_its_study_not_the_worker(
    small_windows: Bundle,
) -> None:
    engines = iter([Scripted(lambda _: throws(2)), None, Scripted(faultless)])

    def load(_: Bundle) -> Engine:
        engine = next(engines)
        if engine is None:
            raise EngineUnavailable("no device", remedy="Plug it in")
        return engine

    worker = Worker(NetworkCache(load))
    with pytest.raises(EngineUnavailable, match="no device"):
        through(worker, small_windows, study())
    np.testing.assert_array_equal(through(worker, small_windows, study()), study()[:3])
    worker.close()


def test_a_cancelled_study_leaves_at_the_next_window_and_others_go_on(
    small_windows: Bundle,
) -> None:
    gate = Gate()
    engine = Scripted(gate)
    with working(engine) as worker, ThreadPoolExecutor(2) as pool, gate:
        cancel, large = CancelToken(), study(shape=(100, 16, 16))
        running = pool.submit(through, worker, small_windows, large, cancel)
        until(lambda: worker.waiting > 0)
        other = pool.submit(through, worker, small_windows, study(1))
        cancel.request(StudyCancelled("no longer wanted", remedy="Send it again"))
        gate.open()
        with pytest.raises(StudyCancelled):
            running.result(timeout=60)
        np.testing.assert_array_equal(other.result(), study(1)[:3])
        assert worker.waiting == 0
    assert engine.calls < 6  # the large one alone would have been a dozen


class Flickering(CancelToken):
    """Ends its study between the worker's first look at it and the second."""

    looks = 0

    @property
    def reason(self) -> BrainMVPError | None:
        if threading.current_thread().name != "inference":
            return None
        self.looks += 1
        return None if self.looks == 1 else StudyCancelled("gone", remedy="Send it again")


def test_a_study_that_ends_between_two_looks_does_not_end_the_worker(small_windows: Bundle) -> None:
    with working(Scripted(faultless)) as worker, ThreadPoolExecutor(1) as pool:
        flickering = Flickering(30)
        ended = pool.submit(through, worker, small_windows, study(), flickering)
        until(lambda: flickering.looks > 1)
        np.testing.assert_array_equal(through(worker, small_windows, study(1)), study(1)[:3])
        worker.close()
        with pytest.raises(ServiceClosing):
            ended.result()


def test_a_window_cut_for_a_study_that_left_holds_up_no_other_model(small_windows: Bundle) -> None:
    """The second window is cut while the engine has the first one, and then nobody wants it."""
    one, two = two_models(small_windows)
    gate = Gate()
    engines = {"sha256:0": [Scripted(gate)], "sha256:1": [Scripted(faultless)]}
    networks = NetworkCache(
        lambda bundle: engines[bundle.digest].pop(), budget=network_bytes(small_windows, 1)
    )
    (first,) = engines["sha256:0"]
    worker = Worker(networks)
    with ThreadPoolExecutor(2) as pool, gate:
        cancel = CancelToken()
        leaving = pool.submit(through, worker, one, study(shape=(100, 16, 16)), cancel)
        windows = len(WindowPlan.of((100, 16, 16), small_windows.task.window))
        until(lambda: worker.waiting == windows - 2)
        cancel.request(StudyCancelled("no longer wanted", remedy="Send it again"))
        with pytest.raises(StudyCancelled):
            leaving.result()
        heavier = study(1, (117, 16, 16))
        other = pool.submit(through, worker, two, heavier)
        time.sleep(0.1)  # the other model's study asks for the memory
        gate.open()
        np.testing.assert_allclose(other.result(timeout=20), heavier[:3], atol=1e-6)
    until(lambda: first.closed)
    assert first.calls == 1 and networks.loads == 2
    worker.close()


def test_a_network_stays_in_memory_until_its_last_window_is_through(small_windows: Bundle) -> None:
    """Another model's study, for which there is no room beside it, waits."""
    one, two = two_models(small_windows)
    first, windows = Scripted(faultless), len(WindowPlan.of((100, 16, 16), one.task.window))
    asked = threading.Event()

    def waits_once(call: int) -> None:
        if call == 3:
            asked.wait(60)

    first.fault = waits_once
    calls_before: list[int] = []
    second = Scripted(lambda _: calls_before.append(first.calls))
    engines = {"sha256:0": first, "sha256:1": second}
    networks = NetworkCache(
        lambda bundle: engines[bundle.digest], budget=network_bytes(small_windows, 1)
    )
    worker = Worker(networks)
    with ThreadPoolExecutor(2) as pool:
        image = study(shape=(100, 16, 16))
        large = pool.submit(through, worker, one, image)
        reaches(first, 3)
        small = pool.submit(through, worker, two, study(1))
        asked.set()
        np.testing.assert_allclose(large.result(timeout=60), image[:3], atol=1e-6)
        small.result(timeout=60)
    assert calls_before[0] == windows and not second.closed
    worker.close()


def test_a_window_cut_ahead_is_not_lost_where_the_batch_before_it_cannot_be_tried_again(
    small_windows: Bundle,
) -> None:
    gate = Gate()

    def held_and_then_broken(call: int) -> None:
        gate(call)
        raise RuntimeError("broken")

    def load(_: Bundle) -> Engine:
        engine = next(engines)
        if engine is None:
            raise OSError("the driver is being replaced")  # no error of ours
        return engine

    broken, fresh = Scripted(held_and_then_broken), Scripted(faultless)
    engines = iter([broken, None, fresh, Scripted(faultless)])
    networks = NetworkCache(load, budget=network_bytes(small_windows, 1))
    worker = Worker(networks)
    with ThreadPoolExecutor(2) as pool, gate:
        failing = pool.submit(through, worker, small_windows, study(0, (16, 16, 16)))
        reaches(broken, 1)
        image = study(1, (16, 16, 16))
        other = pool.submit(through, worker, small_windows, image)
        with networks.acquire(small_windows, CancelToken()) as network:
            until(lambda: network.holders == 5)  # two studies, their batches, and this
        gate.open()
        with pytest.raises(EngineFailed):
            failing.result(timeout=60)
        np.testing.assert_array_equal(other.result(timeout=60), image[:3])
    with networks.acquire(two_models(small_windows)[1], CancelToken(20)):
        pass  # nobody holds the first network any more
    worker.close()


class Poisoned(Scripted):
    """Gives no number for a window that begins with -1."""

    def infer(self, windows: Array) -> Array:
        logits = super().infer(windows)
        logits[windows[:, 0, 0, 0, 0] == -1] = np.nan
        return logits


def test_a_study_that_fails_takes_none_with_it_that_shared_its_batches(
    small_windows: Bundle,
) -> None:
    gate = Gate()
    held = Poisoned(gate)
    shape = (117, 16, 16)
    bad, good = np.full((4, *shape), -1, np.float32), study(1, shape)
    fresh = [Poisoned(faultless) for _ in range(20)]
    with working(held, *fresh, windows=4) as worker, ThreadPoolExecutor(3) as pool, gate:
        first = pool.submit(through, worker, small_windows, study(2))
        reaches(held, 1)
        failing = pool.submit(through, worker, small_windows, bad)
        other = pool.submit(through, worker, small_windows, good)
        until(lambda: worker.waiting > 10)
        gate.open()
        first.result()
        with pytest.raises(EngineFailed):
            failing.result()
        np.testing.assert_allclose(other.result(), good[:3], atol=1e-6)


def test_a_study_in_the_next_batch_is_not_taken_out_of_it_for_itself(small_windows: Bundle) -> None:
    gate = Gate()
    engine = Scripted(gate)
    sizes = {
        len(WindowPlan.of((n, 16, 16), small_windows.task.window)): n for n in range(100, 15, -1)
    }
    with working(engine, windows=3) as worker, ThreadPoolExecutor(2) as pool, gate:
        images = (np.full((4, sizes[n], 16, 16), n, np.float32) for n in (5, 2))
        large = pool.submit(through, worker, small_windows, next(images))
        until(lambda: engine.calls == 1 and worker.waiting == 0)
        small = pool.submit(through, worker, small_windows, next(images))
        until(lambda: worker.waiting == 1)  # one of its windows has joined the next batch
        gate.open()
        large.result(), small.result()
    assert engine.batches == [3, 3, 1] and engine.voxels == [5, 5, 2]


def test_a_study_over_its_time_ends_though_the_engine_hangs(small_windows: Bundle) -> None:
    gate = Gate()
    with working(Scripted(gate)) as worker, gate:
        with pytest.raises(StudyTimedOut, match=r"0\.2 s"):
            through(worker, small_windows, study(), CancelToken(0.2))
        assert not gate.is_open


def test_a_closing_worker_ends_what_runs(small_windows: Bundle) -> None:
    gate = Gate()
    with working(Scripted(gate)) as worker, ThreadPoolExecutor(1) as pool, gate:
        running = pool.submit(through, worker, small_windows, study(shape=(100, 16, 16)))
        until(lambda: worker.waiting > 0)
        worker.close(patience_s=0.1)
        with pytest.raises(ServiceClosing):
            running.result()


def test_the_least_recently_used_idle_network_makes_room(small_windows: Bundle) -> None:
    bundles = [Bundle(small_windows.root, small_windows.manifest) for _ in range(3)]
    for index, bundle in enumerate(bundles):
        bundle.__dict__["digest"] = f"sha256:{index}"
    engines = [Scripted(faultless) for _ in range(4)]
    loaded = iter(engines)
    networks = NetworkCache(lambda _: next(loaded), budget=2 * network_bytes(small_windows, 1))
    with (
        networks.acquire(bundles[0], CancelToken()),
        networks.acquire(bundles[1], CancelToken()),
        pytest.raises(StudyTimedOut),
        networks.acquire(bundles[2], CancelToken(0.3)),
    ):
        pass  # both are in use: it waits
    with networks.acquire(bundles[0], CancelToken()):
        pass
    with networks.acquire(bundles[2], CancelToken()):
        assert networks.bytes == 2 * network_bytes(small_windows, 1)
    until(lambda: engines[1].closed)
    assert [engine.closed for engine in engines] == [False, True, False, False]
    networks.close()


def test_a_network_changed_on_disk_since_it_was_verified_is_not_loaded(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    root = tmp_path / "1"
    shutil.copytree(tiny_bundle.root, root)
    bundle = Bundle.open(root)
    with bundle.network.open("ab") as file:
        file.write(b"x")
    with (
        pytest.raises(InvalidBundle, match="SHA-256"),
        NetworkCache().acquire(bundle, CancelToken()),
    ):
        pass


def test_engines_that_hang_are_counted_bounded_and_forgotten_when_they_come_back(
    small_windows: Bundle,
) -> None:
    """Each keeps a thread and a network: without a bound, every study would leak two of them."""
    with Gate() as gate:
        networks = NetworkCache(lambda _: Scripted(gate), timeout_s=0.1, windows=1, most_hung=2)
        with networks.acquire(small_windows, CancelToken()) as network:
            engine, one = network.engine, networks.bytes
            for hung in (1, 2):
                with pytest.raises(EngineFailed, match="did not answer"):
                    engine.finish(engine.start(network.room()))
                if hung == 1:
                    engine.restart()
                    assert networks.bytes == 2 * one
            with pytest.raises(EngineUnavailable, match="2 engines hang"):
                engine.restart()
            networks.discard(network)
            assert networks.left.full and networks.bytes == 2 * one
            with pytest.raises(EngineFailed):  # at once: nobody works on it any more
                engine.finish(engine.start(network.room()))
        with pytest.raises(EngineUnavailable), networks.acquire(small_windows, CancelToken()):
            pass
        gate.open()
        until(lambda: networks.left.count == 0)
        assert networks.bytes == 0 and not networks.left.full
        with networks.acquire(small_windows, CancelToken()):
            assert networks.bytes == one
    networks.close()


def test_an_engine_that_hangs_takes_its_part_of_the_budget_but_never_the_last_network(
    tiny_bundle: Bundle, grade_bundle: Bundle
) -> None:
    with Gate() as gate:
        budget = network_bytes(tiny_bundle, 1)
        networks = NetworkCache(lambda _: Scripted(gate), timeout_s=0.05, windows=1, budget=budget)
        with networks.acquire(tiny_bundle, CancelToken()) as network:
            with pytest.raises(EngineFailed):
                network.engine.finish(network.engine.start(network.room()))
            network.engine.restart()
        with networks.acquire(grade_bundle, CancelToken(5)):
            assert networks.unloads == 1
    networks.close()
