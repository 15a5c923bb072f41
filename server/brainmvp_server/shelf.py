"""The models a service offers now: follows its folder, hands out predictors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError, InvalidBundle
from brainmvp_server.catalogue import Catalogue
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.worker import Worker
from brainmvp_server.summary import Model, Models

T = TypeVar("T")

log = logging.getLogger(__name__)


class Shelf:
    """The bundles of one folder, and a predictor for each once somebody has asked for it.

    A request keeps the predictor it was given: one whose bundle is replaced meanwhile ends on the
    old one.
    """

    def __init__(self, folder: Path, worker: Worker) -> None:
        self.catalogue = Catalogue.read(folder)
        self._folder = folder
        self._worker = worker
        self._predictors: dict[Bundle, Predictor] = {}
        self._lock = threading.Lock()
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

    def predictor(self, name: str, version: str | None = None) -> Predictor:
        """A model's predictor; its network is loaded when it is first used, if it is not yet.

        Raises:
            UnknownModel: no such name or version.
        """
        bundle = self.catalogue.bundle(name, version)
        with self._lock:
            if bundle not in self._predictors:
                self._predictors[bundle] = Predictor(bundle, self._worker)
            return self._predictors[bundle]

    def serve(self, name: str, version: str | None, work: Callable[[Predictor], T]) -> T:
        """What ``work`` makes of a model's predictor; on the new bundle, where that model's files
        were replaced before its network was loaded.

        Raises:
            UnknownModel: no such name or version.
        """
        try:
            return work(self.predictor(name, version))
        except InvalidBundle:
            if not self.refresh():
                raise
            return work(self.predictor(name, version))

    def refresh(self) -> bool:
        """Look at the folder again; whether anything changed.

        A folder that cannot be seen now, such as a share that is away, changes nothing.
        """
        if not self._folder.is_dir():
            log.warning("the model folder is away; what was served still is")
            return False
        before, now = self.catalogue, Catalogue.read(self._folder, self.catalogue)
        if now.same_as(before):
            return False
        self.catalogue = now
        served = {b for versions in now.bundles.values() for b in versions.values()}
        with self._lock:
            for bundle in set(self._predictors) - served:
                del self._predictors[bundle]
        self._worker.networks.keep(now.digests)
        _report(before, now)
        return True

    def follow(self, every_s: float, *, warm_up: bool) -> None:
        """Look at the folder every so many seconds until closed; 0 never does.

        Args:
            warm_up: load the network of each model's default version ahead of its first study.
        """
        if warm_up:
            self._warm.clear()
        self._following = threading.Thread(
            target=self._follow, args=(every_s, warm_up), name="shelf", daemon=True
        )
        self._following.start()

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        if self._following is not None:
            # A runtime that is compiling when the interpreter ends aborts the process.
            self._following.join(timeout=60)

    def _follow(self, every_s: float, warm_up: bool) -> None:
        if warm_up:
            self._warm_up()
            self._warm.set()
        while every_s and not self._closing.wait(every_s):
            try:
                if self.refresh() and warm_up:
                    self._warm_up()
            except Exception:  # whatever a share can do; the next look may succeed
                log.exception("the model folder could not be read")

    def _warm_up(self) -> None:
        for name in self.catalogue.bundles:
            if self._closing.is_set():
                return
            try:
                self._worker.networks.prepare(self.catalogue.bundle(name))
            except BrainMVPError as error:  # whoever asks for that model is told; the others serve
                log.warning("%s cannot be served: %s", name, error.problem)


def _report(before: Catalogue, now: Catalogue) -> None:
    old, new = ({f"{n}/{v}" for n, vs in c.bundles.items() for v in vs} for c in (before, now))
    for name in sorted(new - old):
        log.warning("now served: %s", name)
    for name in sorted(old - new):
        log.warning("no longer served: %s", name)
    for refused in now.refused:
        if refused not in before.refused:
            log.warning("refused: %s", refused)
