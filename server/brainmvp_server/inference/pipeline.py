"""One study's way from its files to its result, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.bundle import Bundle
from brainmvp_models.determinable import NotDeterminable, not_determinable, without
from brainmvp_models.modality import Modality
from brainmvp_models.task import ScoreOutputs, Task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.imaging.grid import Affine
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.sources import Source
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.calibrated import calibrated_scores, confidence
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.engines import EngineInfo
from brainmvp_server.inference.figures import study_figures
from brainmvp_server.inference.fill import Channels, fill_channels
from brainmvp_server.inference.left_out import segment_without
from brainmvp_server.inference.low_priority import run_low_priority
from brainmvp_server.inference.measure import Structure, measure
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.out_of_distribution import (
    OutsideTraining,
    looks_at_agent,
    outside_lesion_load,
    outside_training,
)
from brainmvp_server.inference.postprocess import Segmentation, restored, softmax
from brainmvp_server.inference.preprocess import ModelSpace, Prepared, prepare
from brainmvp_server.inference.profile import planned
from brainmvp_server.inference.result import ClassScore, Result
from brainmvp_server.inference.result_space import ResultSpace, WorkedOn
from brainmvp_server.inference.stopwatch import Stopwatch
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.worker import Worker

ProgressCallback = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done and how much there is."""

Array = NDArray[np.float32]
Returned = TypeVar("Returned")


@dataclass(frozen=True)
class StudyPipeline:
    """What one study needs on its way; :meth:`run` names the stages in their order.

    Attributes:
        bank: gives the bundle's templates at the model's spacing.
        cancel: no stage begins once it was requested.
        progress: told the begin and the end of each stage, and each window.
        gives_way: whether the engine comes first where both want a core.
        to_templates: registers a study, for fill policy ``register``; see :func:`fill_channels`.
    """

    bundle: Bundle
    bank: Callable[[], TemplateBank]
    worker: Worker
    options: PredictOptions
    limits: Limits
    cancel: CancelToken
    progress: ProgressCallback | None = None
    gives_way: bool = False
    to_templates: Callable[[Study, CancelToken], Affine] | None = None
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def read(self, sources: Mapping[Modality, Source]) -> Study:
        """The first stage: files to volumes on one grid.

        Raises:
            InvalidInput: one of its kinds; see :func:`read_study`.
        """
        options = self.options
        return self._do(
            "read",
            lambda: read_study(sources, self.limits, resample=options.resample, form=options.form),
        )

    def run(self, worked_on: WorkedOn) -> Result:
        """All other stages: volumes to the result.

        Raises:
            InvalidInput, EngineFailed, StudyStopped: as for a predictor.
        """
        task, study, onto = self.bundle.task, worked_on.study, worked_on.onto
        prepared, outside = self._do("preprocess", lambda: self._prepare(study))
        space = prepared.space
        image, channels, templates = self._fill(study, prepared, onto)
        logits, windows, engine = self._infer(image, channels.real)
        del image  # a study's largest array; what follows needs the room
        open_questions = self._not_determinable(channels)
        left_out = () if self.options.not_determinable else open_questions
        segmentation, structures = self._restore(logits, space, worked_on, left_out)
        manifest = self.bundle.manifest
        expected = manifest.expected(channels.real, self.options.policy(task))
        seconds = self.stopwatch.seconds
        profile = self.options.profile or "reference"
        self.worker.study_done(manifest.name, seconds, engine.precision, profile)
        return Result(
            manifest=manifest,
            bundle_digest=self.bundle.digest,
            engine=engine,
            profile=profile,
            study=onto.shown if onto else study,
            filled=channels.filled,
            segmentation=segmentation,
            structures=structures,
            scores=() if left_out else self._scores(logits),
            expected=expected,
            coverage=prepared.coverage,
            warnings=(
                *(warning.text for warning in worked_on.warnings),
                *self._unlike_training(outside, structures),
                *self._warnings(prepared, channels, measured=bool(expected)),
                *(one.sentence for one in open_questions),
            ),
            windows=windows,
            seconds=seconds,
            templates=templates,
            preparation=worked_on.report,
            onto=onto,
            brain=worked_on.brain,
            not_determinable=open_questions,
            left_out=not self.options.not_determinable,
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside, and report its begin and end."""
        self.cancel.check()
        self._tell(name, 0, 1)
        with self.stopwatch.measure(name):
            yield
        self._tell(name, 1, 1)

    def _do(self, name: str, work: Callable[[], Returned]) -> Returned:
        """A whole stage, with the study's priority."""
        with self.stage(name):
            return self._part(work)

    def _part(self, work: Callable[[], Returned]) -> Returned:
        """A part of the stage that is open, with the study's priority."""
        return run_low_priority(work) if self.gives_way else work()

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(stage, done, total)

    def _fill(
        self, study: Study, prepared: Prepared, onto: ResultSpace | None
    ) -> tuple[Array, Channels, dict[Modality, Array] | None]:
        """The network's input (C, X, Y, Z), what is real of it, and the templates asked for."""
        task, policy = self.bundle.task, self.options.policy(self.bundle.task)
        templates, space, place = None, prepared.space, self.to_templates
        found = None if place is None else lambda: place(study, self.cancel)
        with self.stage("fill"):
            image, channels = self._part(
                lambda: fill_channels(prepared, task, self.bank(), policy, found)
            )
            if self.options.templates:
                templates = self._part(lambda: _stood_in(image, channels, task, space, onto))
        return image, channels, templates

    def _infer(self, image: Array, real: tuple[Modality, ...]) -> tuple[Array, int, EngineInfo]:
        """Logits (O, X, Y, Z), or (O,) of a classification; how many windows; by what engine."""
        profile = self.options.profile or "reference"
        plan, stitching = self._part(lambda: planned(image, real, self.bundle.task, profile))
        networks, interactive = self.worker.networks, self.options.interactive
        with self.stage("infer"), networks.acquire(self.bundle, self.cancel) as network:
            padded = self._part(lambda: plan.pad(image))
            run = StudyRun(network, plan, padded, stitching, self.cancel, interactive)
            for done in self.worker.run(run):
                self._tell("infer", done, len(plan))
        return self._do("blend", stitching.mean), len(plan), network.engine.info

    def _restore(
        self,
        logits: Array,
        space: ModelSpace,
        worked_on: WorkedOn,
        left_out: tuple[NotDeterminable, ...],
    ) -> tuple[Segmentation | None, tuple[Structure, ...]]:
        outputs, probabilities = self.bundle.task.outputs, self.options.probabilities
        if isinstance(outputs, ScoreOutputs):
            return None, ()
        onto, names = worked_on.onto, [one.output for one in left_out]
        shown = without(outputs, names)
        segmentation = self._do(
            "restore",
            lambda: segment_without(
                logits, space, outputs, names, probabilities=probabilities, onto=onto
            ),
        )
        grid = onto.grid if onto else space.native
        structures = self._do(
            "measure", lambda: measure(segmentation.outputs, shown, grid, worked_on.brain)
        )
        calibration = self.bundle.manifest.calibration
        return segmentation, tuple(
            replace(
                one,
                confidence=confidence(
                    marked, None if calibration is None else calibration.of(one.name)
                ),
            )
            for one, marked in zip(structures, segmentation.marked, strict=True)
        )

    def _scores(self, logits: Array) -> tuple[ClassScore, ...]:
        outputs = self.bundle.task.outputs
        if not isinstance(outputs, ScoreOutputs):
            return ()
        plain = scores = softmax(logits)
        calibration = self.bundle.manifest.calibration
        if calibration is not None:
            scores = calibrated_scores(plain, calibration)
        return tuple(
            ClassScore(entry.name, entry.title, float(score), float(given))
            for entry, score, given in zip(outputs.classes, scores, plain, strict=True)
        )

    def _not_determinable(self, channels: Channels) -> tuple[NotDeterminable, ...]:
        """What the modalities that came cannot decide."""
        policy = self.options.policy(self.bundle.task)
        return not_determinable(self.bundle.manifest, channels.real, policy)

    def _prepare(self, study: Study) -> tuple[Prepared, tuple[OutsideTraining, ...]]:
        """A study in model space, and what of it is unlike the training's, where that is known."""
        rules, training = self.bundle.task.preprocessing, self.bundle.training_distribution
        prepared = prepare(study, rules, self.limits)
        if training is None:
            return prepared, ()
        agent = looks_at_agent(prepared.images, training)
        figures = study_figures(prepared.images, rules.spacing_mm, agent=agent)
        return prepared, outside_training(figures, training)

    def _unlike_training(
        self, outside: tuple[OutsideTraining, ...], structures: tuple[Structure, ...]
    ) -> Iterator[str]:
        """The warnings of it and of what was found, each counted."""
        training = self.bundle.training_distribution
        if training is None:
            return
        for one in (*outside, *outside_lesion_load(structures, training)):
            self.worker.study_outside(self.bundle.manifest.name, one.kind)
            yield one.sentence

    def _warnings(
        self, prepared: Prepared, channels: Channels, *, measured: bool
    ) -> tuple[str, ...]:
        notes = list(prepared.warnings)
        if self.bundle.manifest.demo:
            notes.insert(0, "demonstration model: the result has no clinical meaning")
        if channels.filled:
            names = ", ".join(entry.modality.value for entry in channels.filled)
            notes.append(f"not this patient's, but filled in: {names}")
        if not measured:
            how = f", the rest filled by '{channels.filled[0].policy}'" if channels.filled else ""
            notes.append(
                "the quality to expect is not known: the bundle's card has no measurement of "
                f"{', '.join(channels.real)}{how}"
            )
        return tuple(notes)


def _stood_in(
    image: Array, channels: Channels, task: Task, space: ModelSpace, onto: ResultSpace | None
) -> dict[Modality, Array]:
    """The templates that were used, on the result's grid."""
    return {
        filled.modality: restored(image[task.modalities.index(filled.modality)], space, onto)
        for filled in channels.filled
        if filled.template is not None
    }
