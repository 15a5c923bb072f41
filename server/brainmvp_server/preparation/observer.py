"""How studies fared in their preparation, told to whoever counts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from brainmvp_models.errors import InvalidInput
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.result_space import PreparationReport, WorkedOn

Outcome = Literal["prepared", "not-needed", "not-asked", "refused"]


class PreparationObserver(Protocol):
    """Told how studies fared, for metrics; must return at once."""

    def preparation_ended(self, outcome: Outcome, reason: str) -> None:
        """A study was prepared, taken as it is, or refused with an error of that code."""
        ...

    def preparation_warned(self, kind: str) -> None:
        """The reader of a result is warned."""
        ...

    def series_moved(self, modality: str, mm: float, similarity: float) -> None:
        """A series was brought so far; its normalised mutual information there, 1 to 2."""
        ...

    def brain_measured(self, ml: float, agreement: float | None) -> None:
        """A brain has so many mL; the Dice of two series' brains, where two were looked at."""
        ...

    def head_turned(self, degrees: float) -> None:
        """A head was turned so far, to lie as the atlas does."""
        ...

    def atlas_covered(self, share: float) -> None:
        """Every series shows so much of the atlas's brain, 0 to 1."""
        ...


@dataclass(frozen=True)
class Observed:
    """What befalls studies, told to an observer if there is one."""

    observer: PreparationObserver | None = None

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Tell of a study that is refused inside the block."""
        try:
            yield
        except InvalidInput as error:
            if self.observer is not None:
                self.observer.preparation_ended("refused", error.code)
            raise

    def taken(self, worked_on: WorkedOn, options: PredictOptions) -> WorkedOn:
        """Tell of a study that a network can be given; itself."""
        if self.observer is not None:
            if worked_on.report is not None:
                self.observer.preparation_ended("prepared", "")
                _tell_figures(self.observer, worked_on.report)
            else:
                self.observer.preparation_ended(
                    "not-asked" if options.as_it_is else "not-needed", ""
                )
            for warning in worked_on.warnings:
                self.observer.preparation_warned(warning.kind)
        return worked_on


def _tell_figures(observer: PreparationObserver, report: PreparationReport) -> None:
    for one in report.moved:
        observer.series_moved(one.modality.value, one.moved_mm, one.after)
    if report.brain_ml is not None:
        observer.brain_measured(report.brain_ml, report.brain_agreement)
    if report.turned_degrees is not None:
        observer.head_turned(report.turned_degrees)
    if report.atlas_covered is not None:
        observer.atlas_covered(report.atlas_covered)
