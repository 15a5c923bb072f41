"""The models a service offers now: follows its folder, hands out predictors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidBundle
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
        self._watching: threading.Thread | None = None

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
        """A model's predictor; its network is loaded when it is first used.

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

    def watch(self, every_s: float) -> None:
        """Look at the folder every so many seconds until closed."""
        self._watching = threading.Thread(
            target=self._watch, args=(every_s,), name="shelf", daemon=True
        )
        self._watching.start()

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        if self._watching is not None:
            self._watching.join(timeout=5)

    def _watch(self, every_s: float) -> None:
        while not self._closing.wait(every_s):
            try:
                self.refresh()
            except Exception:  # whatever a share can do; the next look may succeed
                log.exception("the model folder could not be read")


def _report(before: Catalogue, now: Catalogue) -> None:
    old, new = ({f"{n}/{v}" for n, vs in c.bundles.items() for v in vs} for c in (before, now))
    for name in sorted(new - old):
        log.warning("now served: %s", name)
    for name in sorted(old - new):
        log.warning("no longer served: %s", name)
    for refused in now.refused:
        if refused not in before.refused:
            log.warning("refused: %s", refused)
