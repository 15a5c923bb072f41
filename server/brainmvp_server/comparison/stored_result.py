"""A result as ``brainmvp predict`` or the service wrote it: its mask, its summary, its series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from brainmvp_models.errors import InvalidInput, UnknownModality
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_server.comparison.visit import VOLUME_ERROR, Kind, Maker, Visit
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.nifti_mask import read_labels
from brainmvp_server.imaging.sources import Source
from brainmvp_server.imaging.study import read_volumes
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.drawn_on import series_drawn_on
from brainmvp_server.results.files import MASK, SUMMARY
from brainmvp_server.results.summary import Summary


@dataclass(frozen=True)
class StoredResult:
    """What a result's files say.

    Attributes:
        called: how errors name it.
        channels: the series it holds, where they were asked for when it was made.
    """

    called: str
    summary: Summary
    mask: Path
    channels: Mapping[Modality, Path]

    @classmethod
    def among(cls, files: Sequence[Unpacked], called: str) -> StoredResult | None:
        """The result that some files are; None where they are none.

        Raises:
            InvalidInput: its summary is damaged, or it has no mask.
        """
        named = {file.name: file.path for file in files}
        if SUMMARY not in named:
            return None
        try:
            summary = Summary.model_validate_json(named[SUMMARY].read_bytes())
        except ValidationError:
            raise InvalidInput(
                f"its {SUMMARY} is none of a result",
                remedy="Give a folder or zip of results as predict writes it, unchanged",
                subject=called,
            ) from None
        if MASK not in named:
            why = "the model classifies" if summary.kind == "classification" else f"no {MASK}"
            raise InvalidInput(
                f"the result holds no mask ({why})",
                remedy="Give the result of a model that segments, whole",
                subject=called,
            )
        real = {one.modality for one in summary.real}
        held = {name: path for name, path in named.items() if _modality(name) in real}
        channels = {modality: path for name, path in held.items() if (modality := _modality(name))}
        return cls(called, summary, named[MASK], channels)

    def visit(self, study: Mapping[Modality, Source] | None, limits: Limits) -> Visit:
        """The result with its series.

        Args:
            study: the series it was made of; None where it holds them itself.

        Raises:
            InvalidInput: the series are not there, or those of another study.
            InvalidVolume, VolumeTooLarge, GridMismatch: a file cannot be used.
        """
        labels, grid = read_labels(self.mask, f"{self.called}: {MASK}", limits)
        sources = self._sources(study)
        series = read_volumes(sources, limits)
        drawn_on = series_drawn_on(grid, series, "the mask", self.called)
        if study is not None:
            self._check_made_of(series, drawn_on)
        made = self.summary
        digests = {one.modality: one.digest for one in made.real}
        errors = {
            one.output: one.value for one in made.expected_quality if one.metric == VOLUME_ERROR
        }
        return Visit(
            series=tuple(replace(one, digest=digests[one.modality]) for one in series),
            drawn_on=drawn_on,
            labels=labels,
            grid=grid,
            kinds=tuple(Kind(one.name, one.title, one.labels) for one in made.structures),
            maker=Maker(made.model, made.version, made.bundle, made.demo, tuple(digests), errors),
        )

    def _sources(self, study: Mapping[Modality, Source] | None) -> dict[Modality, Source]:
        given: Mapping[Modality, Source] = self.channels if study is None else study
        real = [one.modality for one in self.summary.real]
        sources = {modality: given[modality] for modality in real if modality in given}
        if not sources and study is None:
            raise InvalidInput(
                "the result does not hold the series it was made of, and masks alone cannot be "
                "aligned",
                remedy="Give the study as well, or make the result with its channels",
                subject=self.called,
            )
        if not sources:
            names = ", ".join(real)
            raise InvalidInput(
                f"the study has none of the series that the result was made of ({names})",
                remedy="Give the study it was made of",
                subject=self.called,
            )
        return sources

    def _check_made_of(self, series: Sequence[Volume], drawn_on: Modality) -> None:
        shown = next(one for one in series if one.modality is drawn_on)
        digest = next(one.digest for one in self.summary.real if one.modality is drawn_on)
        if shown.digest != digest:
            raise InvalidInput(
                f"the study's {drawn_on} is not the file that the result was made of",
                remedy="Give the study it was made of, unchanged",
                subject=self.called,
            )


def _modality(name: str) -> Modality | None:
    """The modality that a channel's file is named by; None where it is no channel's name."""
    try:
        return parse_modality(name.removesuffix(".nii.gz"))
    except UnknownModality:
        return None
