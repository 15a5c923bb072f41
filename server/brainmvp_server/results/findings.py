"""What was found in a study, before any model: what ``POST /v1/studies/identify`` answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.notes import notes_of
from brainmvp_server.imaging.sources import Source
from brainmvp_server.results.wire import Point, Wire

if TYPE_CHECKING:
    from brainmvp_server.imaging.identify.identify_study import Identified
    from brainmvp_server.imaging.intake import Intake, NamedFile


class Finding(Wire):
    """One volume: what it is, how sure, on what evidence, and whether it is used."""

    label: str
    kind: str
    modality: Modality | None
    confidence: str
    evidence: tuple[str, ...]
    used: bool
    reason: str
    series_uid: str | None = None
    series_number: int | None = None
    description: str | None = None
    slices: int | None = None
    spacing_mm: Point | None = None
    plane: str | None = None
    b_value: float | None = None
    echo_time_ms: float | None = None
    notes: tuple[str, ...] = Field(
        default=(), description="What of the series is not in it, or how it was put together."
    )

    @classmethod
    def of_series(cls, one: Identified) -> Finding:
        """Of a volume of a DICOM series."""
        header = one.header
        x, y, z = (round(value, 3) for value in header.spacing)
        return cls(
            label=one.label,
            kind="dicom",
            modality=one.answer.modality,
            confidence=one.answer.confidence.value,
            evidence=one.answer.evidence,
            used=one.used,
            reason=one.reason,
            series_uid=header.uid,
            series_number=header.number,
            description=header.description or header.protocol,
            slices=header.slices or None,
            spacing_mm=(x, y, z) if x else None,
            plane=header.plane or None,
            b_value=header.b_value,
            echo_time_ms=header.echo_time,
            notes=one.stack.notes if one.stack else (),
        )

    @classmethod
    def of_file(cls, file: NamedFile) -> Finding:
        """Of a NIfTI file; its name is not repeated, only the words of the vocabulary in it."""
        known = file.modality is not None
        evidence = (
            ("assigned by the user",)
            if file.assigned
            else (f"its name says '{' '.join(file.words)}'",)
        )
        if file.assigned:
            reason = "assigned by the user" if known else "left out by the user"
        else:
            # The label is what `assign` takes: the remedy can be carried out where it is read.
            remedy = f"say what it is with assign={file.label}:MODALITY"
            reason = "named so" if known else f"{file.reason}; {remedy}"
        return cls(
            label=file.label,
            kind="nifti",
            modality=file.modality,
            confidence=("high" if file.assigned else "medium") if known else "none",
            evidence=evidence if known or file.words else (),
            used=known,
            reason=reason,
        )


class Findings(Wire):
    """Every volume of a study, and how many files were none."""

    volumes: tuple[Finding, ...]
    unreadable: int
    other: int
    warnings: tuple[str, ...] = Field(
        default=(), description="What a reader of a result should know about the files used."
    )

    @classmethod
    def of(
        cls,
        intake: Intake | None,
        sources: Mapping[Modality, Source],
        wanted: Collection[Modality] = (),
    ) -> Findings:
        """What was taken in, if anything was to be told apart, and what of it is used.

        Args:
            wanted: what the model takes; what is not among ``sources`` is filled.
        """
        series = intake.dicom.series if intake and intake.dicom else ()
        return cls(
            volumes=(
                *(Finding.of_file(file) for file in (intake.nifti if intake else ())),
                *(Finding.of_series(one) for one in series),
            ),
            unreadable=len(intake.unread) if intake else 0,
            other=intake.other if intake else 0,
            warnings=notes_of(sources, intake, wanted),
        )

    @classmethod
    def of_all(cls, intake: Intake) -> Findings:
        """What was taken in, whatever a model takes of it."""
        return cls.of(intake, intake.dicom.chosen if intake.dicom else {})

    @classmethod
    def none(cls) -> Findings:
        """Of a study in which nothing was to be told apart, and of which nothing is to be said."""
        return cls(volumes=(), unreadable=0, other=0)
