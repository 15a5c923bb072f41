"""From what was given of one time, files of any kind, to what is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidInput, InvalidVolume, NothingIdentified
from brainmvp_models.modality import Modality
from brainmvp_server.comparison.stored_result import StoredResult
from brainmvp_server.comparison.visit import Visit
from brainmvp_server.imaging.archive import ArchiveLimits, Unpacked, is_zip, unpack
from brainmvp_server.imaging.intake import Intake, IntakeOptions, take_in
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.nifti_mask import read_labels
from brainmvp_server.imaging.sources import Source
from brainmvp_server.imaging.study import read_volumes
from brainmvp_server.inference.result import Result
from brainmvp_server.preparation.drawn_on import series_drawn_on

Predict = Callable[[Intake], Result]
"""Has a model draw the mask of a study."""


_FEW_NUMBERS = 16
"""A mask of no more numbers than this is taken as one, whatever it looks like."""
_ALIKE = 0.5
"""Neighbours that are both inside have the same number at least this often in a mask; in an image
of 256 greys it is a tenth."""


def _goes_on() -> None:
    """For comparisons that nobody can end."""


@dataclass(frozen=True)
class GivenFiles:
    """Files that somebody gave, and how errors name them: by path, or by the part they came as."""

    files: tuple[Unpacked, ...] = field(repr=False)
    called: str


@dataclass(frozen=True)
class GivenTime:
    """What was given of one time.

    Attributes:
        main: a study, or a result; of either its files, or one zip.
        mask: one made elsewhere, for a study.
        study: what a result was made of, where it does not hold that itself.
    """

    main: GivenFiles
    mask: GivenFiles | None = None
    study: GivenFiles | None = None


@dataclass(frozen=True)
class Looked:
    """One time before it is read.

    Attributes:
        sources: its series.
        visit: reads it, or has its mask drawn.
        predicted: whether a model draws the mask.
    """

    sources: Mapping[Modality, Source]
    visit: Callable[[], Visit]
    predicted: bool = False


@dataclass(frozen=True)
class Reading:
    """How files are taken in.

    Attributes:
        folder: what zips are unpacked into.
        predict: draws the mask of a study that has none; None where no model was named.
        check: raises where nobody waits any more.
    """

    folder: Path
    predict: Predict | None = None
    options: IntakeOptions = field(default_factory=IntakeOptions)
    limits: Limits = Limits()
    archive: ArchiveLimits = ArchiveLimits()
    check: Callable[[], None] = _goes_on

    def look(self, given: GivenTime, name: str) -> Looked:
        """What one of the two times is; no voxel is read.

        Args:
            name: of a folder for its files: ``before`` or ``after``.

        Raises:
            InvalidInput: one of its kinds, naming what was given, the problem and the remedy.
        """
        with _told_of(given.main.called):
            looked = self._look(given, name)

        def visit() -> Visit:
            with _told_of(given.main.called):
                return looked.visit()

        return replace(looked, visit=visit)

    def _look(self, given: GivenTime, name: str) -> Looked:
        main = GivenFiles(self._flat(given.main, name), given.main.called)
        result = StoredResult.among(main.files, main.called)
        if result is None:
            return self._look_at_study(main, given, name)
        if given.mask is not None:
            raise InvalidInput(
                "it has a mask of its own: it is a result",
                remedy="Leave the other mask out, or give the study in the result's place",
                subject=main.called,
            )
        if given.study is None:
            return Looked(result.channels, lambda: result.visit(None, self.limits))
        study = GivenFiles(self._flat(given.study, f"{name}-study"), given.study.called)
        series = self._series(study, f"{name}-series")
        return Looked(series, lambda: result.visit(series, self.limits))

    def _look_at_study(self, main: GivenFiles, given: GivenTime, name: str) -> Looked:
        if given.study is not None:
            raise InvalidInput(
                f"it is no result, and beside it {given.study.called} is a second study",
                remedy="Give a folder or zip of results, or leave the second study out",
                subject=main.called,
            )
        if given.mask is not None:
            series, mask = self._series(main, name), given.mask
            return Looked(series, lambda: self._drawn(series, mask))
        if self.predict is None:
            raise InvalidInput(
                "it is a study without a mask",
                remedy="Name a model that draws it, give a mask, or give a result in its place",
                subject=main.called,
            )
        intake, predict = self._intake(main, name), self.predict
        return Looked(intake.sources(), lambda: Visit.of_result(predict(intake)), predicted=True)

    def _drawn(self, series: Mapping[Modality, Source], mask: GivenFiles) -> Visit:
        volumes = read_volumes(series, self.limits)
        labels, grid = read_labels(mask.files[0].path, mask.called, self.limits)
        _check_labels(labels, mask.called)
        drawn_on = series_drawn_on(grid, volumes, "the mask", mask.called)
        return Visit(volumes, drawn_on, labels, grid)

    def _flat(self, given: GivenFiles, name: str) -> tuple[Unpacked, ...]:
        """The files, or those of the zip that is the only one."""
        if len(given.files) != 1 or not is_zip(given.files[0].path):
            return given.files
        folder = self._made(f"{name}-files")
        path = given.files[0].path
        return unpack(path, folder, self.archive, subject=given.called, check=self.check)

    def _intake(self, given: GivenFiles, name: str) -> Intake:
        folder = self._made(f"{name}-intake")
        return take_in(given.files, folder, self.options, self.archive, self.check)

    def _series(self, given: GivenFiles, name: str) -> Mapping[Modality, Source]:
        """The series of a study, told apart.

        Raises:
            NothingIdentified: there is none.
        """
        found = self._intake(given, name).sources()
        if not found:
            raise NothingIdentified(
                "no series in it is known to be of a modality",
                remedy="Give DICOM, or name NIfTI files by their modality, such as flair.nii.gz",
                subject=given.called,
            )
        return found

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder


@contextmanager
def _told_of(called: str) -> Iterator[None]:
    """Have an error about a series say of which time it is."""
    try:
        yield
    except InvalidInput as error:
        if error.subject not in set(Modality):
            raise
        subject = f"{called}: {error.subject}"
        raise type(error)(error.problem, remedy=error.remedy, subject=subject) from None


def _check_labels(labels: NDArray[Any], called: str) -> None:
    """Refuse an image in a mask's place.

    Raises:
        InvalidVolume: its neighbours have too many different numbers.
    """
    count = len(np.unique(labels))
    one, other = labels[:-1], labels[1:]
    inside = (one > 0) & (other > 0)
    alike = np.count_nonzero(one[inside] == other[inside])
    if count > _FEW_NUMBERS and alike < _ALIKE * np.count_nonzero(inside):
        raise InvalidVolume(
            f"it holds {count} different numbers, side by side: it is an image, and no mask",
            remedy="Give a mask in which each structure has a number",
            subject=called,
        )
