"""A bundle, loaded and ready: files in, result out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import DuplicateModality, InvalidBundle
from brainmvp_models.manifest import SubsetQuality
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.task import FillPolicy, ScoreOutputs, Task
from brainmvp_models.templates import TemplateBank, minmax_scaled
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.imaging.sources import Source
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.engines import EngineInfo
from brainmvp_server.inference.fill import Channels, check_modalities, fill_channels
from brainmvp_server.inference.footprint import model_voxels
from brainmvp_server.inference.measure import Structure, measure
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.postprocess import Segmentation, restored, segment, softmax
from brainmvp_server.inference.preprocess import ModelSpace, Prepared, prepare
from brainmvp_server.inference.result import ClassScore, Result
from brainmvp_server.inference.stages import ProgressCallback, Stages
from brainmvp_server.inference.windows import Blend, ScoreMean, WindowPlan
from brainmvp_server.inference.worker import StudyRun, Worker

Array = NDArray[np.float32]
_LARGE = 8
"""A study of more than so many windows' voxels gives way to the engine."""


@dataclass(frozen=True)
class _Wanted:
    """How a study is filled, and what is kept beside the mask."""

    fill: FillPolicy
    probabilities: bool = False
    templates: bool = False


class Predictor:
    """A served model. Safe to share between threads: studies take turns at the engine.

    Args:
        worker: brings windows through the engine; one for all models of a device.

    Example::

        predictor = Predictor.load("bundles/demo-glioma")
        result = predictor.predict({"t1": "t1.nii.gz", "flair": "flair.nii.gz"})
        result.mask, result.structures, result.filled
    """

    def __init__(self, bundle: Bundle, worker: Worker) -> None:
        self.bundle = bundle
        self.worker = worker

    @classmethod
    def load(cls, path: str | Path | Bundle, engine: str | None = None) -> Predictor:
        """Open a bundle, verify it and load its network, with a worker of its own.

        Raises:
            InvalidBundle: its schema or a digest does not hold, or it is no model.
            EngineUnavailable: the engine is not installed or refuses the network.
        """
        bundle = path if isinstance(path, Bundle) else Bundle.open(Path(path))
        if bundle.manifest.kind != "model":
            raise InvalidBundle(
                f"is of kind '{bundle.manifest.kind}': it finds brains and predicts nothing",
                remedy="Give the bundle of a model",
                subject=bundle.manifest.name,
            )
        networks = NetworkCache(engine=engine)
        with networks.acquire(bundle, CancelToken()):
            return cls(bundle, Worker(networks))

    def predict(
        self,
        files: Mapping[str, str | Path] | Mapping[Modality, Path] | Mapping[Modality, Source],
        *,
        fill: FillPolicy | None = None,
        probabilities: bool = False,
        templates: bool = False,
        resample: bool = False,
        form: Form = "sform",
        limits: Limits = Limits(),
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        interactive: bool = True,
        notes: Sequence[str] = (),
    ) -> Result:
        """Segment or classify one study; the first file's grid is the result's grid.

        Args:
            files: one NIfTI file, or stack of a DICOM series, a modality.
            fill: how missing modalities are filled; by default as the bundle says.
            probabilities: also keep each output's probability map.
            templates: also keep what stood in for each missing modality.
            resample: bring NIfTI files on other grids onto the first one's, by scanner coordinates.
            form: what places a NIfTI file's voxels, where its header has both.
            progress: told the stage, and how much of it is done.
            stop: asked before each stage and window whether the study may go on.
            interactive: whether somebody waits for it; other studies come later.
            notes: what a reader should know about the files; they are among the warnings.

        Raises:
            InvalidInput: one of its kinds, naming the modality, the problem and the remedy.
            EngineFailed: the engine failed twice on the study.
            StudyStopped: ``cancel`` said so.
        """
        policy = fill or self.bundle.task.filling.policy
        paths = _by_modality(files)
        check_modalities(tuple(paths), self.bundle.task, policy)
        voxels = model_voxels(paths, self.bundle.task, limits, form)
        large = voxels > _LARGE * self._window_voxels
        stages = Stages(progress, cancel or CancelToken(), gives_way=large)
        study = stages.work("read", lambda: read_study(paths, limits, resample=resample, form=form))
        wanted = _Wanted(policy, probabilities, templates)
        result = self._predict(study, wanted, limits, stages, interactive)
        return replace(result, warnings=(*result.warnings, *notes))

    def predict_study(
        self,
        study: Study,
        *,
        fill: FillPolicy | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """The same for a study that is read already, for example to use a part of it.

        Raises:
            InvalidInput: as for :meth:`predict`.
        """
        policy = fill or self.bundle.task.filling.policy
        check_modalities(tuple(v.modality for v in study.volumes), self.bundle.task, policy)
        return self._predict(study, _Wanted(policy), Limits(), Stages(progress), True)

    def close(self) -> None:
        """End the worker and free its networks."""
        self.worker.close()

    def _predict(
        self,
        study: Study,
        wanted: _Wanted,
        limits: Limits,
        stages: Stages,
        interactive: bool,
    ) -> Result:
        task = self.bundle.task
        prepared = stages.work("preprocess", lambda: prepare(study, task.preprocessing, limits))
        space = prepared.space
        templates = None
        with stages.stage("fill"):
            image, channels = stages.part(
                lambda: fill_channels(prepared, task, self._bank, wanted.fill)
            )
            if wanted.templates:
                templates = stages.part(partial(_stood_in, image, channels, task, space))
        logits, windows, engine = self._infer(image, stages, interactive)
        del image  # a study's largest array; what follows needs the room
        segmentation, structures = self._restore(logits, space, wanted.probabilities, stages)
        expected = self._expected(channels, wanted.fill)
        self.worker.study_done(self.bundle.manifest.name, stages.seconds)
        return Result(
            manifest=self.bundle.manifest,
            bundle_digest=self.bundle.digest,
            engine=engine,
            study=study,
            filled=channels.filled,
            segmentation=segmentation,
            structures=structures,
            scores=self._scores(logits),
            expected=expected,
            coverage=prepared.coverage,
            warnings=self._warnings(prepared, channels, measured=bool(expected)),
            windows=windows,
            seconds=stages.seconds,
            templates=templates,
        )

    @cached_property
    def _window_voxels(self) -> int:
        return math.prod(self.bundle.task.window.size)

    @cached_property
    def _bank(self) -> TemplateBank:
        task = self.bundle.task
        bank = self.bundle.templates().at_spacing(task.preprocessing.spacing_mm)
        if task.filling.scaling == "raw":
            return bank
        return TemplateBank({m: minmax_scaled(t) for m, t in bank.volumes.items()})

    def _infer(
        self, image: Array, stages: Stages, interactive: bool
    ) -> tuple[Array, int, EngineInfo]:
        """Logits (O, X, Y, Z), or (O,) of a classification; how many windows; by what engine."""
        task = self.bundle.task
        plan = WindowPlan.of(image.shape[1:], task.window)
        kind = ScoreMean if task.kind == "classification" else Blend
        stitching = kind(plan, task.outputs.count)
        networks = self.worker.networks
        with stages.stage("infer"), networks.acquire(self.bundle, stages.cancel) as network:
            padded = stages.part(lambda: plan.pad(image))
            passage = StudyRun(network, plan, padded, stitching, stages.cancel, interactive)
            for done in self.worker.run(passage):
                stages.report("infer", done, len(plan))
        return stages.work("blend", stitching.mean), len(plan), network.engine.info

    def _restore(
        self, logits: Array, space: ModelSpace, probabilities: bool, stages: Stages
    ) -> tuple[Segmentation | None, tuple[Structure, ...]]:
        outputs = self.bundle.task.outputs
        if isinstance(outputs, ScoreOutputs):
            return None, ()
        segmentation = stages.work(
            "restore", lambda: segment(logits, space, outputs, probabilities=probabilities)
        )
        structures = stages.work(
            "measure", lambda: measure(segmentation.outputs, outputs, space.native)
        )
        return segmentation, structures

    def _scores(self, logits: Array) -> tuple[ClassScore, ...]:
        outputs = self.bundle.task.outputs
        if not isinstance(outputs, ScoreOutputs):
            return ()
        scores = softmax(logits)
        return tuple(
            ClassScore(entry.name, entry.title, float(score))
            for entry, score in zip(outputs.classes, scores, strict=True)
        )

    def _expected(self, channels: Channels, policy: FillPolicy) -> tuple[SubsetQuality, ...]:
        real = set(channels.real)
        return tuple(
            quality
            for quality in self.bundle.manifest.subset_card
            if set(quality.real) == real and (quality.fill == policy or not channels.filled)
        )

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
    image: Array, channels: Channels, task: Task, space: ModelSpace
) -> dict[Modality, Array]:
    """The templates that were used, on the native grid."""
    return {
        filled.modality: restored(image[task.modalities.index(filled.modality)], space)
        for filled in channels.filled
        if filled.template is not None
    }


def _by_modality(
    files: Mapping[str, str | Path] | Mapping[Modality, Path] | Mapping[Modality, Source],
) -> dict[Modality, Source]:
    """Files under parsed modalities, in the given order.

    Raises:
        UnknownModality, DuplicateModality: for example ``t1ce`` beside ``t1c``.
    """
    paths: dict[Modality, Source] = {}
    for name, path in files.items():
        modality = name if isinstance(name, Modality) else parse_modality(name)
        if modality in paths:
            raise DuplicateModality(
                "the modality was given twice",
                remedy="Send each modality once",
                subject=modality.value,
            )
        paths[modality] = Path(path) if isinstance(path, str) else path
    return paths
