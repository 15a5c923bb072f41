"""The stage between a raw study and its preprocessing: one world, brains alone, the model's frame.

Inspect, co-register onto a reference series, find the brain, turn to the atlas where the task asks
for it; then each series is interpolated once, through all of it. What a study does not need is not
done, and a study that needs nothing is passed through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import MissingModality, TemplateMismatch
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import Preprocessing, Task
from brainmvp_server.imaging.grid import Affine, Grid
from brainmvp_server.imaging.nifti import spatial_header
from brainmvp_server.imaging.study import Study, read_volumes
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.checked_study import CheckedStudy
from brainmvp_server.inference.options import MODEL_SPACE, PredictOptions
from brainmvp_server.inference.result_space import (
    PreparationReport,
    PreparationWarning,
    ResultSpace,
    SeriesMoved,
    WorkedOn,
)
from brainmvp_server.preparation.atlas import Atlas, atlas_of, check_upright, part_covered, to_atlas
from brainmvp_server.preparation.brain import BrainMask, extract_brain
from brainmvp_server.preparation.brain_frame import BrainFrame
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.co_register import co_register
from brainmvp_server.preparation.inspect import inspect, inspect_series
from brainmvp_server.preparation.look import RawStudy, look_at
from brainmvp_server.preparation.observer import Observed, PreparationObserver
from brainmvp_server.preparation.outlines import Outlines
from brainmvp_server.preparation.placement import fit_one_another
from brainmvp_server.preparation.reference import reference_of
from brainmvp_server.preparation.register import Registration
from brainmvp_server.preparation.resample import brought
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid

StageMaker = Callable[[str], AbstractContextManager[None]]

_LOOK_S = 0.2
MARGIN_MM = 8.0
"""Around the brain, on a grid that is made for it."""


@dataclass(frozen=True, eq=False)
class Means:
    """What studies are prepared with.

    Attributes:
        networks: find the brain; made when they are first needed.
        atlas: the site's own, if it has one.
    """

    networks: Callable[[], BrainNetworks]
    atlas: Atlas | None = None
    _one: threading.Lock = field(default_factory=threading.Lock)

    def serving(self, options: PredictOptions) -> Means:
        """The same, with the place among other studies that one with these options has."""
        if options.interactive:
            return self
        return replace(self, networks=lambda: self.networks().in_batch)

    @contextmanager
    def finding_a_brain(self, cancel: CancelToken) -> Iterator[BrainNetworks]:
        """The networks, for one study at a time: memory is counted for one.

        Raises:
            BrainMVPError: the reason of ``cancel``, while waiting.
        """
        while not self._one.acquire(timeout=_LOOK_S):
            cancel.check()
        try:
            yield self.networks()
        finally:
            self._one.release()


@dataclass(frozen=True, eq=False)
class PreparedStudy:
    """A study that a network can be given.

    Attributes:
        study: brains alone, on one grid.
        reference: the series that the others were brought to, as it came.
        series: all series as they came, in the order they were given.
        to_series: takes a point of the reference's world to the world of each other series.
        to_worked: takes a point of the reference's world to the world of ``study``.
        brain: None where the series came without their skulls.
        report: the figures of each step.
        warnings: what a reader should know.
    """

    study: Study
    reference: Volume
    series: tuple[Volume, ...]
    to_series: Mapping[Modality, RigidTransform]
    to_worked: RigidTransform
    brain: BrainMask | None
    report: PreparationReport
    warnings: tuple[PreparationWarning, ...]

    def onto(self, target: Volume) -> ResultSpace:
        """A result's place on the grid of one of the series."""
        others = tuple(volume for volume in self.series if volume is not target)
        back = self.to_series[target.modality].inverse
        ways = {name: way.after(back).matrix for name, way in self.to_series.items()}
        return ResultSpace(Study((target, *others)), self.to_worked.after(back).matrix, ways)

    def worked_on(self, target: Volume | None) -> WorkedOn:
        """This study, and its result's place: the grid of one of the series, or its own."""
        frame = BrainFrame(self.reference, self.brain, self.to_series)
        to_result = self.to_worked if target is None else self.to_series[target.modality]
        brain = frame.brain_in(to_result, self.to_worked)
        onto = None if target is None else self.onto(target)
        return WorkedOn(self.study, onto, brain, self.report, self.warnings)


class StudyPreparation:
    """Reads a study and prepares it where it has to be. Safe to share between threads.

    Args:
        observer: told how each study fared.
    """

    def __init__(self, means: Means, observer: PreparationObserver | None = None) -> None:
        self.means = means
        self._observed = Observed(observer)

    def __call__(
        self, study: CheckedStudy, task: Task, cancel: CancelToken, stage: StageMaker
    ) -> WorkedOn:
        """What the task is run on, where its result is wanted, and the brain there.

        Raises:
            InvalidInput: a file that cannot be read, or a study that cannot be prepared.
        """
        options, observed = study.options, self._observed
        with stage("read"):
            volumes = read_volumes(study.sources, study.limits, form=options.form)
            with observed.refusals():
                space = task.preprocessing.space
                looked = look_at(volumes, options, study.limits, study.brain, space)
            if isinstance(looked, WorkedOn):
                return observed.taken(looked, options)
        means = self.means.serving(options)
        with observed.refusals():
            asked = _asked(volumes, options.space)
            prepared = prepare_study(volumes, task.preprocessing, means, cancel, stage, looked)
        target = None if options.space == MODEL_SPACE else asked or prepared.reference
        return observed.taken(prepared.worked_on(target), options)

    def to_templates(self, study: Study, cancel: CancelToken) -> Affine:
        """(4, 4), takes a point of the world of a study of brains, R-A-S mm, to SRI24's.

        Raises:
            TemplateMismatch: its reference shows a whole head.
            RegistrationFailed: it is upside down or back to front.
        """
        atlas = atlas_of(Space.SRI24, self.means.atlas)
        assert atlas is not None
        reference = reference_of(study.volumes)
        if inspect_series(reference).head:
            raise TemplateMismatch(
                "fill policy 'register' needs brains, and the series shows a whole head",
                remedy="Ask for prepare=auto, or choose the policy center",
                subject=reference.modality.value,
            )
        cancel.check()
        return to_atlas(Pyramid(reference), atlas).to_moving.inverse.matrix


def prepare_study(
    volumes: Sequence[Volume],
    rules: Preprocessing,
    means: Means,
    cancel: CancelToken,
    stage: StageMaker,
    raw: RawStudy | None = None,
) -> PreparedStudy:
    """Prepare a raw study as a task's preprocessing wants it.

    Args:
        raw: what :func:`look_at` says of it, where that is known.

    Raises:
        NoBrain, ImplausibleBrain, RegistrationFailed: a step did not work.
        EngineFailed, EngineUnavailable: the networks that find the brain cannot be run.
    """
    raw = raw or RawStudy(inspect(volumes))
    findings, brain = raw.findings, raw.brain
    reference = reference_of(volumes)
    with stage("register"):
        if findings.ready and fit_one_another(volumes):
            registrations = {}
        else:
            registrations = co_register(volumes, reference, cancel, findings.one_grid)
    to_series = {volume.modality: RigidTransform.identity() for volume in volumes}
    to_series |= {modality: found.to_moving for modality, found in registrations.items()}
    if brain is None and not findings.extracted:
        with stage("brain"), means.finding_a_brain(cancel) as networks:
            common = {modality: way.inverse.matrix for modality, way in to_series.items()}
            brain = extract_brain(volumes, networks, to_common=common, cancel=cancel)
    frame = BrainFrame(reference, brain, to_series)
    atlas, placed = atlas_of(rules.space, means.atlas), None
    with stage("atlas"):
        cancel.check()
        head = Pyramid(reference, frame.mask_on(reference.grid))
        if atlas is None:
            check_upright(head)
        else:
            placed = to_atlas(head, atlas)
    to_reference = RigidTransform.identity() if placed is None else placed.to_moving
    spacing = rules.spacing_mm
    with stage("resample"):
        grid = spaced(atlas.grid, spacing) if atlas else grid_around(frame.points(), spacing)
        study = _study_on(grid, volumes, frame, to_reference)
        ways = {modality: way.after(to_reference) for modality, way in to_series.items()}
        outlines = Outlines.of(study, volumes, ways, atlas)
        covered = None if atlas is None else part_covered(atlas, _fields(volumes, ways))
    report = _report(reference, registrations, brain, placed, rules.space, covered, outlines)
    warnings = (*findings.warnings, *(brain.warnings if brain else ()))
    to_worked = to_reference.inverse
    return PreparedStudy(
        study, reference, tuple(volumes), to_series, to_worked, brain, report, warnings
    )


def _fields(volumes: Sequence[Volume], ways: Mapping[Modality, RigidTransform]) -> list[Grid]:
    """The series' fields of view in the world that all share."""
    return [
        Grid(volume.grid.shape, ways[volume.modality].inverse.matrix @ volume.grid.affine)
        for volume in volumes
    ]


def _study_on(
    grid: Grid, volumes: Sequence[Volume], frame: BrainFrame, to_reference: RigidTransform
) -> Study:
    """The brain of every series on one grid, each series interpolated once."""
    mask = None if frame.brain is None else frame.mask_on(grid, to_reference)
    header = spatial_header(grid.affine)
    series = [
        brought(volume, grid, header, frame.to_series[volume.modality].after(to_reference), mask)
        for volume in volumes
    ]
    return Study.of(series)


def grid_around(points: NDArray[np.float64], spacing_mm: Sequence[float]) -> Grid:
    """An R-A-S grid of a spacing around points (N, 3) in mm, with a margin."""
    low, high = points.min(axis=0) - MARGIN_MM, points.max(axis=0) + MARGIN_MM
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    x, y, z = (int(n) for n in np.ceil((high - low) / spacing) + 1)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = low
    return Grid((x, y, z), affine)


def spaced(grid: Grid, spacing_mm: Sequence[float]) -> Grid:
    """A grid's field of view in voxels of a spacing; itself where it has that spacing."""
    ratio = np.asarray(spacing_mm) / np.asarray(grid.spacing)
    if np.allclose(ratio, 1, atol=1e-3):
        return grid
    x, y, z = (int(n) for n in np.ceil(np.asarray(grid.shape) / ratio))
    return Grid((x, y, z), grid.affine @ np.diag([*ratio, 1.0]))


def _asked(series: Sequence[Volume], space: str | None) -> Volume | None:
    """The series whose grid a result is wanted on, if it is wanted on that of a certain one.

    Raises:
        MissingModality: the study has no such series.
    """
    if space in (None, MODEL_SPACE):
        return None
    for volume in series:
        if volume.modality.value == space:
            return volume
    known = ", ".join(volume.modality.value for volume in series)
    raise MissingModality(
        f"the study has no {space}, whose grid the result is wanted on",
        remedy=f"Choose one of: {known}, {MODEL_SPACE}",
    )


def _report(
    reference: Volume,
    registrations: Mapping[Modality, Registration],
    brain: BrainMask | None,
    placed: Registration | None,
    space: Space,
    covered: float | None,
    outlines: Outlines,
) -> PreparationReport:
    return PreparationReport(
        reference=reference.modality,
        space=space,
        turned_degrees=placed.to_moving.degrees if placed else None,
        atlas_covered=covered,
        moved=tuple(
            SeriesMoved(modality, found.moved_mm, found.before, found.after, found.start)
            for modality, found in registrations.items()
        ),
        brain_ml=brain.ml if brain else None,
        brain_series=brain.series if brain else (),
        brain_agreement=brain.agreement if brain else None,
        picture=outlines.png,
    )
