"""The models a service offers now: follows its folder, hands out predictors."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError, InvalidBundle
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.brain_network import BrainBundles
from brainmvp_server.repository.catalogue import Catalogue
from brainmvp_server.results.served_model import Model, Models

T = TypeVar("T")

log = logging.getLogger(__name__)


class ModelRepository:
    """The bundles of one folder, and a predictor for each once somebody has asked for it.

    A request acquires a bundle, and ends on it whatever is put into the folder meanwhile.
    """

    def __init__(self, folder: Path, worker: Worker) -> None:
        self.catalogue = Catalogue.read(folder)
        self._folder = folder
        self._worker = worker
        self._predictors: dict[Bundle, Predictor] = {}
        self._packaged: BrainBundles | None = None  # once somebody asks for them
        self._in_use: Counter[Bundle] = Counter()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._closing = threading.Event()
        self._following: threading.Thread | None = None
        self._warm = threading.Event()
        self._warm.set()

    @property
    def warm(self) -> bool:
        """Whether the networks that were to be loaded at the start are."""
        return self._warm.is_set()

    @property
    def refused(self) -> tuple[InvalidBundle, ...]:
        """Bundles that are not served, and why."""
        return self.catalogue.refused

    def models(self) -> Models:
        """Every model in its default version, and what was refused."""
        return self.catalogue.models()

    def model(self, name: str, version: str | None = None, *, card: bool = False) -> Model:
        """One model.

        Raises:
            UnknownModel: no such name or version.
        """
        return self.catalogue.model(name, version, card=card)

    def bundle(self, name: str, version: str | None = None) -> Bundle:
        """One bundle; the default version unless one is named.

        Raises:
            UnknownModel: no such name or version.
        """
        return self.catalogue.bundle(name, version)

    @contextmanager
    def acquire(self, name: str, version: str | None = None) -> Iterator[Bundle]:
        """One bundle for a request; its network, if loaded, stays in memory until the block ends.

        Raises:
            UnknownModel: no such name or version.
        """
        with self._lock:
            bundle = self.catalogue.bundle(name, version)
            self._in_use[bundle] += 1
        try:
            yield bundle
        finally:
            with self._lock:
                self._in_use[bundle] -= 1
            self._forget()

    def brain_bundles(self) -> BrainBundles:
        """The networks that find brains: the folder's own, where it has them, else the packaged.

        Raises:
            InvalidBundle: the packaged ones are missing or damaged.
        """
        self._packaged = self._packaged or BrainBundles.packaged()
        return self._packaged.replaced(self.catalogue.brain)

    def predictor(self, bundle: Bundle) -> Predictor:
        """A bundle's predictor; its network is loaded when it is first used, if it is not yet."""
        with self._lock:
            if bundle not in self._predictors:
                self._predictors[bundle] = Predictor(bundle, self._worker)
            return self._predictors[bundle]

    def serve(self, bundle: Bundle, work: Callable[[Predictor], T]) -> T:
        """What ``work`` makes of a bundle's predictor.

        Where the bundle's files were replaced before its network was loaded, that is impossible:
        ``work`` is then done from its beginning with the one that has its name and version now.

        Raises:
            InvalidBundle: its files do not hold, and no other has taken its place.
            UnknownModel: it is gone.
        """
        try:
            return work(self.predictor(bundle))
        except InvalidBundle:
            self.refresh()
            now = self.catalogue.bundle(bundle.manifest.name, bundle.manifest.version)
            if now is bundle:
                raise
        return work(self.predictor(now))

    def refresh(self) -> bool:
        """Look at the folder again; whether anything changed.

        A folder that cannot be seen now, such as a share that is away, changes nothing. One looks
        at a time: two could end in the other order than they began, and the older reading win.
        """
        with self._reading:
            return self._refresh()

    def _refresh(self) -> bool:
        if not self._folder.is_dir():
            log.warning("the model folder is away; what was served still is")
            return False
        before, now = self.catalogue, Catalogue.read(self._folder, self.catalogue)
        if now.same_as(before):
            return False
        self.catalogue = now
        self._forget()
        _report(before, now)
        return True

    def _forget(self) -> None:
        """Let go of predictors and networks that are no longer served, once nobody has them."""
        with self._lock:
            served = {b for versions in self.catalogue.bundles.values() for b in versions.values()}
            self._in_use = +self._in_use  # without those that came back
            kept = served | set(self._in_use)
            for bundle in set(self._predictors) - kept:
                del self._predictors[bundle]
            finders = self.brain_bundles().digests if self._packaged else frozenset()
            self._worker.networks.keep(finders | {bundle.digest for bundle in kept})

    def follow(self, every_s: float, *, warm_up: bool) -> None:
        """Look at the folder every so many seconds until closed; 0 never does.

        Args:
            warm_up: load the network of each model's default version ahead of its first study.
        """
        if warm_up:
            self._warm.clear()
        self._following = threading.Thread(
            target=self._follow, args=(every_s, warm_up), name="model-repository", daemon=True
        )
        self._following.start()

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        if self._following is not None:
            # A runtime that is compiling when the interpreter ends aborts the process.
            self._following.join(timeout=60)

    def _follow(self, every_s: float, warm_up: bool) -> None:
        cold = warm_up
        try:
            cold = warm_up and not self._warm_up()
        finally:
            self._warm.set()
        while every_s and not self._closing.wait(every_s):
            try:
                if (self.refresh() and warm_up) or cold:
                    cold = not self._warm_up()
            except Exception:  # whatever a share can do; the next look may succeed
                log.exception("the model folder could not be read")

    def _warm_up(self) -> bool:
        """Load what is to be in memory; whether another try could load no more.

        A model that cannot be loaded keeps no other one out, and whoever asks for it is told.
        """
        settled = True
        for name in self.catalogue.bundles:
            if self._closing.is_set():
                break
            try:
                self._worker.networks.prepare(self.catalogue.bundle(name))
            except BrainMVPError as error:
                log.warning("%s cannot be served: %s", name, error.problem)
            except Exception:  # a share that is away for a moment, as a rule
                log.exception("%s could not be loaded; it is tried again", name)
                settled = False
        return settled


def _report(before: Catalogue, now: Catalogue) -> None:
    old, new = ({f"{n}/{v}" for n, vs in c.bundles.items() for v in vs} for c in (before, now))
    for name in sorted(new - old):
        log.warning("now served: %s", name)
    for name in sorted(old - new):
        log.warning("no longer served: %s", name)
    for refused in now.refused:
        if refused not in before.refused:
            log.warning("refused: %s", refused)
