"""Whom a model was measured on: what a reader must know beside a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from brainmvp_models.errors import InvalidPopulation
from brainmvp_models.task import Frozen, explain


class Population(Frozen):
    """The studies that a subset card was measured on."""

    kind: Literal["synthetic", "patient", "volunteer", "mixed"] = Field(
        description="What the studies are: made by a program, of patients, of healthy volunteers, "
        "or of several kinds."
    )
    description: str = Field(min_length=1, max_length=500, description="Who is in them.")
    anatomy: Literal["real", "synthetic", "mixed"] = Field(
        description="Whether heads are as they were scanned, or deformed or drawn by a program."
    )
    preparation: str = Field(
        min_length=1, max_length=500, description="How they were prepared: brains, spacing, space."
    )
    field_of_use: str = Field(
        min_length=1, max_length=500, description="What the figures may be used for."
    )

    @property
    def sentence(self) -> str:
        """All of it in one line, for a card or a report."""
        return (
            f"{self.description}; {self.anatomy} anatomy; prepared: {self.preparation}; "
            f"field of use: {self.field_of_use}"
        )


def measured_on(studies: int, population: Population | None) -> str:
    """What follows "measured on": ``30 synthetic studies``, or that nobody wrote it down."""
    if population is None:
        return f"what is not recorded ({studies} studies)"
    return f"{studies} {population.kind} studies"


def load_population(path: Path) -> Population:
    """The population that a YAML or JSON file describes.

    Raises:
        InvalidPopulation: it cannot be read, or a field is missing or wrong.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidPopulation(
            f"cannot be read ({error.strerror or type(error).__name__})",
            remedy="Give a YAML file that says whom the studies are of",
            subject=str(path),
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise InvalidPopulation(
            "is not valid YAML", remedy="Correct the syntax", subject=str(path)
        ) from None
    return parse_population(fields, subject=str(path))


def parse_population(fields: object, *, subject: str) -> Population:
    """The population that parsed YAML or JSON describes; ``subject`` names its origin in errors.

    Raises:
        InvalidPopulation: a field is missing or wrong; the message lists every one.
    """
    try:
        return Population.model_validate(fields)
    except ValidationError as error:
        raise InvalidPopulation(
            explain(error),
            remedy="Correct these fields of the population; see docs/evaluation.md",
            subject=subject,
        ) from None
