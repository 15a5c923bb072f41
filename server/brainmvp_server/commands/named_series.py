"""A study's series as options, one a modality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from brainmvp_models.errors import BrainMVPError, DuplicateModality
from brainmvp_models.modality import Modality

Files = list[Path] | None


def _series(title: str) -> Any:
    return typer.Option(metavar="FILE", help=f"{title} series.", rich_help_panel="Series by name")


@dataclass(frozen=True)
class NamedSeries:
    """Files that say themselves what they are: one option a modality, named as it is.

    Raises:
        DuplicateModality: one is given twice.
    """

    flair: Annotated[Files, _series("T2-FLAIR")] = None
    t1: Annotated[Files, _series("T1-weighted")] = None
    t1c: Annotated[Files, _series("Contrast-enhanced T1-weighted")] = None
    t2: Annotated[Files, _series("T2-weighted")] = None
    mra: Annotated[Files, _series("Angiography (time of flight)")] = None
    pd: Annotated[Files, _series("Proton density")] = None
    dwi: Annotated[Files, _series("Diffusion-weighted")] = None
    adc: Annotated[Files, _series("Apparent diffusion coefficient")] = None
    t1ir: Annotated[Files, _series("T1 inversion recovery")] = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if len(getattr(self, field.name) or ()) > 1:
                raise DuplicateModality(
                    "is given twice", remedy="Give each modality once", subject=f"--{field.name}"
                )

    @property
    def files(self) -> dict[Modality, Path]:
        """The file of each modality that is given."""
        given = ((Modality(one.name), getattr(self, one.name)) for one in fields(self))
        return {modality: files[0] for modality, files in given if files}


@contextmanager
def naming_files(files: Mapping[str, Path]) -> Iterator[None]:
    """Adds the file to an error whose subject is one of the series, as ``predict`` has it."""
    try:
        yield
    except BrainMVPError as error:
        if error.subject in files:
            error.subject = f"{error.subject} ({files[error.subject]})"
        raise
