"""One running service: what takes a study to its result, and everything that needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidBundle, InvalidInput, ServiceClosing
from brainmvp_server.comparison.change import Thresholds
from brainmvp_server.comparison.compare import TIMES, Comparison, compare
from brainmvp_server.comparison.footprint import comparison_bytes
from brainmvp_server.comparison.given import GivenTime, Reading
from brainmvp_server.imaging.archive import ArchiveLimits
from brainmvp_server.imaging.intake import Intake, IntakeOptions
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.checked_study import CheckedStudy, check_study
from brainmvp_server.inference.cpu_precision import check_cpu_precision, cpu_kind
from brainmvp_server.inference.engines import EngineOptions, check_engine
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.pipeline import ProgressCallback
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.profile import chosen_profile
from brainmvp_server.inference.result import Result
from brainmvp_server.inference.worker import Batching, Worker, WorkerObserver
from brainmvp_server.preparation.atlas import site_atlas
from brainmvp_server.preparation.brain_network import BrainNetworks, working_bytes
from brainmvp_server.preparation.observer import PreparationObserver
from brainmvp_server.preparation.stage import Means, StudyPreparation
from brainmvp_server.repository.catalogue import Catalogue
from brainmvp_server.repository.model_repository import ModelRepository
from brainmvp_server.runtime.admission import Admission
from brainmvp_server.runtime.received_study import GivenStudy, Prediction, ReceivedStudy
from brainmvp_server.runtime.scratch import Scratch
from brainmvp_server.settings import Settings


class ServiceObserver(WorkerObserver, PreparationObserver, Protocol):
    """Told what the service does, for metrics; must return at once."""


_LOOK_S = 0.2


class Service:
    """Everything that lives as long as the process.

    Raises:
        InvalidBundle: there is no model folder.
        EngineUnavailable: the engine is not installed, its GPU is not here, or a bundle is to be
            computed in bfloat16 and cannot be.
        InvalidSettings: the scratch folder or the atlas cannot be used.
    """

    def __init__(self, settings: Settings, observer: ServiceObserver | None = None) -> None:
        folder = settings.service.models
        if not folder.is_dir():
            raise InvalidBundle(
                "no such folder",
                remedy="Give the folder that holds the bundles with --models",
                subject=str(folder),
            )
        worker = settings.worker
        check_engine(worker.engine)  # now, not at the first study
        if worker.cpu_precision == "bf16":
            bundles = Catalogue.read(folder).all
            check_cpu_precision("bf16", worker.engine, bundles, cpu_kind())
        limits, atlas = settings.limits, settings.worker.atlas
        own_atlas = None if atlas is None else site_atlas(atlas, limits.volume)
        self.settings = settings
        scratch = settings.service.scratch
        self.scratch = Scratch() if scratch is None else Scratch(scratch)
        self.scratch.empty()
        self.worker = _worker(settings, observer)
        self.repository = ModelRepository(folder, self.worker)
        self.admission = Admission(
            limits.requests,
            limits.key_requests,
            limits.memory_mb << 20 if limits.memory_mb else None,
            settings.worker.studies,
        )
        self.preparation = StudyPreparation(Means(self._brain_networks, own_atlas), observer)
        self.draining = False
        self._running: set[CancelToken] = set()
        self._lock = threading.Lock()
        self._one_comparison = threading.Lock()

    @property
    def stuck(self) -> bool:
        """Do so many engines hang that only a new start can help?"""
        return self.worker.networks.left.full

    @property
    def ready(self) -> bool:
        """Whether it can serve: it has models, their networks are loaded, and it is not closing."""
        return (
            bool(self.repository.catalogue.bundles) and self.repository.warm and not self.draining
        )

    def start(self) -> None:
        """Begin to load networks and to follow the model folder."""
        watch_s, warm_up = self.settings.service.watch_s, self.settings.worker.warm_up
        if watch_s or warm_up:
            self.repository.follow(watch_s, warm_up=warm_up)

    @contextmanager
    def study(self) -> Iterator[CancelToken]:
        """One study's right to go on, which ends with its time or with the service."""
        cancel = CancelToken(self.settings.limits.study_s)
        with self._lock:
            self._running.add(cancel)
        try:
            yield cancel
        finally:
            with self._lock:
                self._running.discard(cancel)

    def check(self, bundle: Bundle, study: ReceivedStudy, options: PredictOptions) -> GivenStudy:
        """Whether a study can be predicted, by its names and headers: no voxel is read.

        Asked when a job is posted, and before every prediction.

        Raises:
            NotProved: a profile was asked for that the bundle has no proof of.
            InvalidInput: one of its kinds; see :meth:`ReceivedStudy.sources`, :func:`check_study`.
            StudyTooLarge: there will never be enough memory for it.
        """
        usual = self.settings.worker.profile
        options = replace(options, profile=chosen_profile(bundle.manifest, options.profile, usual))
        sources = study.sources(bundle.task)
        limits = self.settings.limits.volume
        checked = check_study(sources, bundle.task, options, limits, study.brain)
        self.admission.check_size(checked.memory)
        return GivenStudy(checked, study.findings(sources))

    @contextmanager
    def predict(
        self,
        bundle: Bundle,
        study: ReceivedStudy,
        options: PredictOptions,
        cancel: CancelToken,
        progress: ProgressCallback | None = None,
        *,
        begin: Callable[[Bundle], object] = lambda _: None,
    ) -> Iterator[Prediction]:
        """A study's result, whose memory is counted until the block ends; waits for that memory.

        The one way from a study to a mask, for requests and for jobs. Where the bundle's files
        were replaced before its network was loaded, all is done anew with the one in its place.

        Args:
            progress: told the stage, and how much of it is done.
            begin: called first with the bundle that does the work; may refuse the study.

        Raises:
            InvalidBundle, UnknownModel: see :meth:`ModelRepository.serve`.
            InvalidInput, StudyTooLarge: see :meth:`check`.
            EngineFailed: the engine failed twice on the study.
            BrainMVPError: ``cancel``'s reason.
        """
        with ExitStack() as memory:

            def predicted(predictor: Predictor) -> Prediction:
                begin(predictor.bundle)
                given = self.check(predictor.bundle, study, options)
                with ExitStack() as taken:
                    need, shared = given.checked.memory, self._to_find_brains(given.checked)
                    taken.enter_context(self.admission.memory_for(need, cancel, shared))
                    result = predictor.predict_checked(
                        given.checked, cancel, progress, self.preparation
                    )
                    memory.push(taken.pop_all())
                return Prediction(result.with_notes(given.findings.warnings), given.findings)

            yield self.repository.serve(bundle, predicted)

    @contextmanager
    def compare(
        self,
        times: tuple[GivenTime, GivenTime],
        folder: Path,
        bundle: Bundle | None,
        intake: IntakeOptions,
        cancel: CancelToken,
    ) -> Iterator[Comparison]:
        """Two times of a patient, whose memory is counted until the block ends.

        One at a time: the memory of the two studies is waited for after their masks were drawn.

        Args:
            folder: for what is unpacked.
            bundle: draws the masks of studies that have none; None where none was named.
            intake: how the files are told apart.

        Raises:
            InvalidInput, StudyTooLarge: see :meth:`Reading.look`, :meth:`check`, :func:`compare`.
            EngineFailed: the engine failed twice on a study.
            BrainMVPError: ``cancel``'s reason.
        """

        def predict(found: Intake) -> Result:
            assert bundle is not None
            study = ReceivedStudy({}, found)
            with self.predict(bundle, study, PredictOptions(), cancel) as done:
                return done.result

        if bundle is not None:
            if bundle.task.kind == "classification":
                raise InvalidInput(
                    "the model classifies, and draws no mask to compare",
                    remedy="Name a model that segments",
                    subject=bundle.manifest.name,
                )
            intake = replace(intake, stand_ins=bundle.task.steady_states)
        limits = self.settings.limits
        reading = Reading(
            folder,
            None if bundle is None else predict,
            intake,
            limits.volume,
            ArchiveLimits(entries=limits.upload_files),
            cancel.check,
        )
        means, given = self.preparation.means, self.settings.comparison
        thresholds = Thresholds(given.change_volume_percent, given.change_product_percent)
        looked = [reading.look(time, name) for time, name in zip(times, TIMES, strict=True)]
        need = sum(comparison_bytes(one.sources, limits.volume) for one in looked)
        self.admission.check_size(need)
        with self._comparing(cancel), ExitStack() as memory:
            drawn = {n: one.visit() for n, one in enumerate(looked) if one.predicted}
            memory.enter_context(self.admission.memory_for(need, cancel, self._brain_bytes()))
            there, here = (drawn.get(n) or one.visit() for n, one in enumerate(looked))
            yield compare(there, here, means.finding_a_brain, thresholds, cancel)

    @contextmanager
    def _comparing(self, cancel: CancelToken) -> Iterator[None]:
        """The turn of one comparison: it may wait for memory while it holds some.

        Raises:
            BrainMVPError: the reason of ``cancel``, while waiting.
        """
        while not self._one_comparison.acquire(timeout=_LOOK_S):
            cancel.check()
        try:
            yield
        finally:
            self._one_comparison.release()

    def _to_find_brains(self, study: CheckedStudy) -> int:
        """Bytes that finding its brain takes, if it may have to be found; one at a time is."""
        if study.options.as_it_is or study.brain is not None:
            return 0
        return self._brain_bytes()

    def _brain_bytes(self) -> int:
        """Bytes that finding a brain takes."""
        try:
            return working_bytes(self.repository.brain_bundles(), self.settings.worker.engine)
        except InvalidBundle:  # a study that needs no preparation is none the worse for it
            return 0

    def _brain_networks(self) -> BrainNetworks:
        return BrainNetworks(self.worker, self.repository.brain_bundles())

    def drain(self) -> None:
        """Take nothing new; what runs goes on."""
        self.draining = True

    def stop(self) -> None:
        """End what still runs, at its next window."""
        self.draining = True
        with self._lock:
            running = list(self._running)
        for cancel in running:
            cancel.request(ServiceClosing("the service is closing", remedy="Send the study again"))

    def close(self) -> None:
        """End everything and free the networks."""
        self.stop()
        self.repository.close()
        self.worker.close()


def _worker(settings: Settings, observer: WorkerObserver | None) -> Worker:
    worker = settings.worker
    networks = NetworkCache(
        engine=worker.engine,
        options=EngineOptions(worker.engine_cache, worker.engine_build, worker.batch),
        cpu_precision=worker.cpu_precision,
        budget=worker.networks_mb << 20 if worker.networks_mb else None,
        windows=worker.batch,
        timeout_s=worker.engine_s,
        warm_up=worker.warm_up,
        most_hung=worker.engines_hung,
    )
    return Worker(networks, Batching(worker.batch_wait_ms / 1000), observer)
