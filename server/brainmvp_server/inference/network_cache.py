"""The networks in a device's memory: as many as its budget holds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineFailed
from brainmvp_models.manifest import CpuPrecision
from brainmvp_server.inference.batch_size import candidates, fastest_batch
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.cpu_precision import cpu_kind, in_bfloat16
from brainmvp_server.inference.engines import (
    ENGINES,
    Engine,
    EngineOptions,
    installed_engines,
    load_engine,
)
from brainmvp_server.inference.engines.guarded import GuardedEngine, LeftBehind
from brainmvp_server.inference.engines.protocol import USUAL_AT_WORK

log = logging.getLogger(__name__)

_FREEING_S = 5.0
"""The longest wait for networks to be freed at the end."""
_UNKNOWN = 54
"""Tensors alive, in input windows, where a bundle does not say: those of the released size."""


@dataclass(eq=False)
class Network:
    """A bundle's network in memory.

    Attributes:
        bytes: what it is counted as.
        batch: the most windows at once.
        holders: studies and batches that use it now.
        used: when it was used last, counted in loads and uses.
        usual_s: what its last batch took.
    """

    bundle: Bundle
    engine: GuardedEngine
    bytes: int
    batch: int
    holders: int = 0
    used: int = 0
    usual_s: float = 0.0
    _rooms: list[NDArray[np.float32]] = field(default_factory=list)

    def room(self) -> NDArray[np.float32]:
        """Room for a batch of windows (N, C, h, w, d); used again for the one after next."""
        if len(self._rooms) < 2:
            task = self.bundle.task
            shape = (self.batch, len(task.channels), *task.window.size)
            self._rooms.append(np.zeros(shape, dtype=np.float32))
        self._rooms.reverse()
        return self._rooms[0]


def network_bytes(bundle: Bundle, windows: int, engine: str | None = None) -> int:
    """An estimate of the memory that a network takes at work on so many windows at once.

    Args:
        engine: by default the preferred one of those installed that run it.
    """
    task = bundle.task
    window = 4 * len(task.channels) * int(np.prod(task.window.size))
    network = bundle.manifest.network
    live = network.live_bytes or _UNKNOWN * window
    name = engine or next(iter(installed_engines(bundle.forms, network.precision)), "")
    at_work = ENGINES[name].at_work if name in ENGINES else USUAL_AT_WORK
    return 2 * bundle.network_bytes + int(at_work * live) * windows


class NetworkCache:
    """Loads networks, and unloads the least recently used idle one where the budget is short.

    One network is always allowed, whatever it takes. Where every loaded network is in use, a study
    that needs another one waits. Those of engines that hang are counted until they come back; with
    too many of them none is loaded.

    Args:
        load: loads a bundle's network; by default from its ONNX file.
        budget: bytes; None for no limit.
        options: how engines load networks.
        cpu_precision: what networks of models are computed in on CPUs.
        windows: the largest batch; by default one window on a CPU, and on a GPU what is fastest.
        timeout_s: how long one batch may take.
        warm_up: run one window at load, so that the first study does not pay for it.
        most_hung: engines that may hang at once.
    """

    def __init__(
        self,
        load: Callable[[Bundle], Engine] | None = None,
        *,
        engine: str | None = None,
        options: EngineOptions = EngineOptions(),
        cpu_precision: CpuPrecision = "auto",
        budget: int | None = None,
        windows: int | None = None,
        timeout_s: float = 120.0,
        warm_up: bool = False,
        most_hung: int = 3,
    ) -> None:
        self._load = load or partial(
            _load_verified, name=engine, options=options, cpu_precision=cpu_precision
        )
        self._engine = engine
        self._budget = budget
        self._windows = windows
        self._timeout_s = timeout_s
        self._warm_up = warm_up
        self._loaded: dict[str, Network] = {}
        self._coming: dict[str, int] = {}
        self._wanted: frozenset[str] | None = None
        self._uses = 0
        self.left = LeftBehind(most_hung)
        self._changed = threading.Condition()
        self.loads = 0
        """How often a network was loaded; for metrics."""
        self.unloads = 0
        """How often one was unloaded."""

    @property
    def bytes(self) -> int:
        """What the networks in memory are counted as."""
        with self._changed:
            return self._taken()

    @contextmanager
    def acquire(self, bundle: Bundle, cancel: CancelToken) -> Iterator[Network]:
        """The bundle's network, loaded if it is not, and kept in memory meanwhile.

        Raises:
            EngineUnavailable: the engine cannot load it.
            InvalidBundle: its file is no longer the one that was verified.
            BrainMVPError: ``cancel``'s reason, while waiting for memory.
        """
        network = self._take(bundle, cancel)
        try:
            yield network
        finally:
            self.release(network)

    def hold(self, network: Network) -> None:
        """Keep a network in memory that somebody holds already, until :meth:`release`."""
        with self._changed:
            network.holders += 1

    def release(self, network: Network) -> None:
        """End one hold."""
        with self._changed:
            network.holders -= 1
            self._drop_unwanted()
            self._changed.notify_all()

    def prepare(self, bundle: Bundle) -> None:
        """Load a bundle's network ahead of its first study, where no other must go for it.

        Raises:
            EngineUnavailable: the engine cannot load it.
            EngineFailed: it cannot run a window.
            InvalidBundle: its file is no longer the one that was verified.
        """
        key, need = bundle.digest, self._need(bundle, self._windows or 1)
        with self._changed:
            taken = self._taken()
            others = self._loaded or self._coming
            full = self._budget is not None and others and taken + need > self._budget
            if full or key in self._loaded or key in self._coming:
                return
            self._coming[key] = need
        with self._loading(bundle):
            self._drop_unwanted()

    def keep(self, digests: frozenset[str]) -> None:
        """Unload the networks of all other bundles, as soon as nobody uses them."""
        with self._changed:
            self._wanted = digests
            self._drop_unwanted()

    def close(self) -> None:
        """Free every network; what is not at work is free when this returns.

        A process that ends while a runtime's thread still frees memory is ended by abort().
        """
        with self._changed:
            closed = [network.engine for network in self._loaded.values()]
            self._loaded.clear()
        for engine in closed:
            engine.close()
        latest = time.monotonic() + _FREEING_S
        for engine in closed:
            engine.wait(latest - time.monotonic())

    def discard(self, network: Network) -> None:
        """Take a network that cannot be repaired out of memory; the next study loads it anew."""
        with self._changed:
            if self._loaded.get(network.bundle.digest) is network:
                del self._loaded[network.bundle.digest]
                self.unloads += 1
            network.engine.close()
            self._changed.notify_all()

    def _take(self, bundle: Bundle, cancel: CancelToken) -> Network:
        key = bundle.digest
        with self._changed:
            while (network := self._loaded.get(key)) is None:
                # Not for one that is loaded: it looks on the disk for engines.
                need = self._need(bundle, self._windows or 1)
                if key not in self._coming and self._make_room(need):
                    self._coming[key] = need
                    break
                cancel.check()
                self._changed.wait(0.2)
            else:
                return self._use(network)
        with self._loading(bundle) as network:
            return self._use(network)

    @contextmanager
    def _loading(self, bundle: Bundle) -> Iterator[Network]:
        """The block begins when the network is loaded and no other thread can unload it yet."""
        try:
            need = self._coming[bundle.digest]
            engine = GuardedEngine(partial(self._load, bundle), self._timeout_s, self.left, need)
            network = self._ready(bundle, engine)
        except BaseException:
            with self._changed:
                del self._coming[bundle.digest]
                self._changed.notify_all()
            raise
        with self._changed:
            del self._coming[bundle.digest]
            self._make_room(network.bytes)  # as far as it goes: a larger batch takes more
            self.loads += 1
            self._loaded[bundle.digest] = network
            self._changed.notify_all()
            yield network

    def _ready(self, bundle: Bundle, engine: GuardedEngine) -> Network:
        """The network, its batch chosen and, where asked for, one window run."""
        try:
            batch = self._batch(bundle, engine)
            network = Network(bundle, engine, self._need(bundle, batch), batch)
            if self._warm_up:
                engine.finish(engine.start(network.room()[:1]))
        except BaseException:
            engine.close()
            raise
        return network

    def _batch(self, bundle: Bundle, engine: GuardedEngine) -> int:
        """The most windows at once; one of a whole head, whose like no other study has ready."""
        if bundle.manifest.kind != "model":
            return 1
        return self._windows or self._fastest(bundle, engine)

    def _fastest(self, bundle: Bundle, engine: GuardedEngine) -> int:
        """One window on a CPU; on a GPU the batch that is fastest, within the budget."""
        if not engine.info.on_gpu:
            return 1
        budget = self._budget

        def fits(windows: int) -> bool:
            return budget is None or self._need(bundle, windows) <= budget

        tried = candidates(engine.info.windows, fits)
        batch = fastest_batch(partial(_seconds, bundle, engine), tried)
        log.warning("%s: %d windows at once are fastest", bundle.manifest.name, batch)
        return batch

    def _need(self, bundle: Bundle, windows: int) -> int:
        return network_bytes(bundle, windows, self._engine)

    def _use(self, network: Network) -> Network:
        """Hold a network for a study, which makes it the one used last."""
        self._uses += 1
        network.used = self._uses
        network.holders += 1
        return network

    def _make_room(self, need: int) -> bool:
        """Unload idle networks until ``need`` fits; whether it does."""
        while self._budget is not None and self._taken() + need > self._budget:
            if not self._loaded and not self._coming:
                return True
            idle = [network for network in self._loaded.values() if not network.holders]
            if not idle:
                return False
            self._unload(min(idle, key=lambda network: network.used))
        return True

    def _drop_unwanted(self) -> None:
        for digest, network in list(self._loaded.items()):
            if self._wanted is not None and digest not in self._wanted and not network.holders:
                self._unload(network)

    def _unload(self, network: Network) -> None:
        del self._loaded[network.bundle.digest]
        self.unloads += 1
        network.engine.close()

    def _taken(self) -> int:
        loaded = sum(network.bytes for network in self._loaded.values())
        return loaded + sum(self._coming.values()) + self.left.bytes


def _seconds(bundle: Bundle, engine: GuardedEngine, windows: int) -> float:
    """What a batch takes, the best of three after one to warm up."""
    task = bundle.task
    batch = np.zeros((windows, len(task.channels), *task.window.size), dtype=np.float32)
    taken = []
    try:
        for _ in range(4):
            start = time.monotonic()
            engine.finish(engine.start(batch))
            taken.append(time.monotonic() - start)
    except EngineFailed:
        engine.restart()
        raise
    return min(taken[1:])


def _load_verified(
    bundle: Bundle, *, name: str | None, options: EngineOptions, cpu_precision: CpuPrecision
) -> Engine:
    """Load a network whose file still is what it was when the bundle was opened."""
    bundle.verify()
    own = replace(
        options,
        precision=bundle.manifest.network.precision,
        bfloat16=in_bfloat16(bundle, name, cpu_precision, cpu_kind()),
    )
    return load_engine(bundle.forms, name, own)
