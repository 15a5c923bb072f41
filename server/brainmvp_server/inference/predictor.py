"""A bundle, loaded and ready: files in, result out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import DuplicateModality, InvalidBundle
from brainmvp_models.manifest import CpuPrecision, Profile
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.task import FillPolicy, Task
from brainmvp_models.templates import TemplateBank, minmax_scaled
from brainmvp_server.imaging.grid import Affine
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.imaging.sources import Source
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.checked_study import CheckedStudy, check_study
from brainmvp_server.inference.fill import check_modalities
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.options import PredictOptions, Prepare
from brainmvp_server.inference.pipeline import ProgressCallback, StudyPipeline
from brainmvp_server.inference.profile import chosen_profile
from brainmvp_server.inference.result import Result
from brainmvp_server.inference.result_space import WorkedOn
from brainmvp_server.inference.worker import Worker

if TYPE_CHECKING:
    from typing_extensions import Self

StageMaker = Callable[[str], AbstractContextManager[None]]
"""Times a stage of that name, and tells of it."""


class Preparation(Protocol):
    """Reads a study and makes of it what a task is run on; see :mod:`brainmvp_server.preparation`.

    Raises:
        InvalidInput: a file that cannot be read, or a study that cannot be prepared.
    """

    def __call__(
        self, study: CheckedStudy, task: Task, cancel: CancelToken, stage: StageMaker
    ) -> WorkedOn:
        """What the task is run on, and where its result is wanted."""

    def to_templates(self, study: Study, cancel: CancelToken) -> Affine:
        """(4, 4), takes a point of the world of a study of brains, R-A-S mm, to SRI24's."""


_LARGE = 8
"""A study of more than so many windows' voxels gives way to the engine."""


class Predictor:
    """A served model. Safe to share between threads: studies take turns at the engine.

    As a context manager it closes at the end of the block.

    Args:
        worker: brings windows through the engine; one for all models of a device. It stays its
            maker's to close; :meth:`load` makes one that :meth:`close` ends.
        preparation: makes of raw studies what the task is run on; None where none is to be made.

    Example::

        with Predictor.load("bundles/demo-glioma") as predictor:
            result = predictor.predict({"t1": "t1.nii.gz", "flair": "flair.nii.gz"})
        result.mask, result.structures, result.filled
    """

    def __init__(
        self, bundle: Bundle, worker: Worker, preparation: Preparation | None = None
    ) -> None:
        self.bundle = bundle
        self.worker = worker
        self.preparation = preparation
        self._own_worker = False

    @classmethod
    def load(
        cls,
        path: str | Path | Bundle,
        engine: str | None = None,
        cpu_precision: CpuPrecision = "auto",
    ) -> Self:
        """Open a bundle, verify it and load its network, with a worker of its own.

        Args:
            cpu_precision: what the network is computed in on a CPU: ``auto`` is bf16 where the
                bundle has a proof for this kind of CPU by which it is faster, else fp32.

        Raises:
            InvalidBundle: its schema or a digest does not hold, or it is no model.
            EngineUnavailable: the engine is not installed or refuses the network, or bf16 was asked
                for and cannot be had.
        """
        bundle = path if isinstance(path, Bundle) else Bundle.open(Path(path))
        if bundle.manifest.kind != "model":
            raise InvalidBundle(
                f"is of kind '{bundle.manifest.kind}': it finds brains and predicts nothing",
                remedy="Give the bundle of a model",
                subject=bundle.manifest.name,
            )
        networks = NetworkCache(engine=engine, cpu_precision=cpu_precision)
        with networks.acquire(bundle, CancelToken()):
            predictor = cls(bundle, Worker(networks))
        predictor._own_worker = True
        return predictor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker that :meth:`load` made, and free its networks."""
        if self._own_worker:
            self.worker.close()

    def predict(
        self,
        files: Mapping[str, str | Path] | Mapping[Modality, Path] | Mapping[Modality, Source],
        *,
        fill: FillPolicy | None = None,
        probabilities: bool = False,
        templates: bool = False,
        resample: bool = False,
        form: Form = "sform",
        prepare: Prepare = "auto",
        space: str | None = None,
        brain: str | Path | None = None,
        not_determinable: bool = False,
        profile: Profile | None = None,
        limits: Limits = Limits(),
        progress: ProgressCallback | None = None,
        cancel: CancelToken | None = None,
        interactive: bool = True,
        notes: Sequence[str] = (),
    ) -> Result:
        """Segment or classify one study.

        The result lies on the first file's grid; that of a study that was prepared on the grid of
        the series the others were brought to, or of ``space``.

        Args:
            files: one NIfTI file, or stack of a DICOM series, a modality.
            fill, probabilities, templates, resample, form, prepare, space, not_determinable,
                profile, interactive: see :class:`PredictOptions`.
            brain: a brain mask on one series' grid (NIfTI), taken instead of one looked for.
            limits: what a volume may hold.
            progress: told the stage, and how much of it is done.
            cancel: asked before each stage and window whether the study may go on.
            notes: what a reader should know about the files; they are among the warnings.

        Raises:
            NotProved: the bundle has no proof of the profile.
            InvalidInput: one of its kinds, naming the modality, the problem and the remedy.
            EngineFailed: the engine failed twice on the study.
            StudyStopped: ``cancel`` said so.
        """
        options = PredictOptions(
            fill=fill,
            probabilities=probabilities,
            templates=templates,
            resample=resample,
            form=form,
            interactive=interactive,
            prepare=prepare,
            space=space,
            not_determinable=not_determinable,
            profile=chosen_profile(self.bundle.manifest, profile),
        )
        mask = None if brain is None else Path(brain)
        study = check_study(by_modality(files), self.bundle.task, options, limits, mask)
        return self.predict_checked(study, cancel, progress, self.preparation).with_notes(notes)

    def predict_checked(
        self,
        study: CheckedStudy,
        cancel: CancelToken | None = None,
        progress: ProgressCallback | None = None,
        prepare: Preparation | None = None,
    ) -> Result:
        """The same for a study that :func:`check_study` has held against this bundle's task.

        Args:
            prepare: makes of series as they came what the task is run on.

        Raises:
            InvalidInput, EngineFailed, StudyStopped: as for :meth:`predict`.
        """
        pipeline = self._pipeline(
            study.options,
            study.limits,
            cancel,
            progress,
            gives_way=study.voxels > _LARGE * math.prod(self.bundle.task.window.size),
            preparation=prepare,
        )
        if prepare is None:
            return pipeline.run(WorkedOn(pipeline.read(study.sources)))
        return pipeline.run(prepare(study, self.bundle.task, pipeline.cancel, pipeline.stage))

    def predict_study(
        self,
        study: Study,
        *,
        fill: FillPolicy | None = None,
        probabilities: bool = False,
        not_determinable: bool = False,
        profile: Profile | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """The same for a study that is read already, for example to use a part of it.

        Args:
            profile: also one that is not proved: this is how it is.

        Raises:
            InvalidInput: as for :meth:`predict`.
        """
        options = PredictOptions(
            fill, probabilities, not_determinable=not_determinable, profile=profile
        )
        task = self.bundle.task
        check_modalities(tuple(v.modality for v in study.volumes), task, options.policy(task))
        pipeline = self._pipeline(options, Limits(), None, progress, preparation=self.preparation)
        return pipeline.run(WorkedOn(study))

    def _pipeline(
        self,
        options: PredictOptions,
        limits: Limits,
        cancel: CancelToken | None,
        progress: ProgressCallback | None,
        *,
        gives_way: bool = False,
        preparation: Preparation | None = None,
    ) -> StudyPipeline:
        return StudyPipeline(
            self.bundle,
            lambda: self._bank,
            self.worker,
            options,
            limits,
            cancel or CancelToken(),
            progress,
            gives_way,
            None if preparation is None else preparation.to_templates,
        )

    @cached_property
    def _bank(self) -> TemplateBank:
        task = self.bundle.task
        bank = self.bundle.templates().at_spacing(task.preprocessing.spacing_mm)
        if task.filling.scaling == "raw":
            return bank
        return TemplateBank({m: minmax_scaled(t) for m, t in bank.volumes.items()})


def by_modality(
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
