"""Scores and probability maps in a summary, and what they mean."""

from __future__ import annotations

from pydantic import Field

from brainmvp_models.calibration import Calibration
from brainmvp_models.population import Population, measured_on
from brainmvp_server.results.wire import Wire


class ScoreGiven(Wire):
    """The probability of one class."""

    name: str
    title: str
    score: float = Field(description="Calibrated, where the bundle has a calibration.")
    uncalibrated: float | None = Field(default=None, description="As the network gives it.")


class ProbabilitiesGiven(Wire):
    """What the scores and the probability maps of a result are."""

    calibrated: bool = Field(
        default=False,
        description="Whether of all that had a probability of 0.8, about 80 % were so on the "
        "studies of the calibration. Else probabilities are the network's own.",
    )
    measured_on: str = Field(default="", description="On how many of whose studies, in words.")
    population: Population | None = Field(
        default=None, description="Whom it was calibrated on; null where that is not recorded."
    )

    @classmethod
    def of(cls, calibration: Calibration | None) -> ProbabilitiesGiven:
        """As the bundle says."""
        if calibration is None:
            return cls()
        whom = calibration.population
        return cls(
            calibrated=True, measured_on=measured_on(calibration.studies, whom), population=whom
        )
