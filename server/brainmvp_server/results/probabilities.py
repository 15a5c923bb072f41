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
    not_calibrated: tuple[str, ...] = Field(
        default=(),
        description="Outputs whose probabilities are the network's own all the same: no correction "
        "made them better.",
    )
    population: Population | None = Field(
        default=None, description="Whom it was calibrated on; null where that is not recorded."
    )

    @classmethod
    def of(cls, calibration: Calibration | None) -> ProbabilitiesGiven:
        """As the bundle says."""
        if calibration is None or not any(one.corrects for one in calibration.outputs):
            return cls()
        whom = calibration.population
        return cls(
            calibrated=True,
            measured_on=measured_on(calibration.studies, whom),
            not_calibrated=tuple(one.output for one in calibration.outputs if not one.corrects),
            population=whom,
        )

    @property
    def sentence(self) -> str:
        """``calibrated on 40 mixed studies (TC is not)``, or ``not calibrated``."""
        if not self.calibrated:
            return "not calibrated"
        return f"calibrated on {self.measured_on}{_but(self.not_calibrated)}"


def _but(outputs: tuple[str, ...]) -> str:
    if not outputs:
        return ""
    return f" ({', '.join(outputs)} {'is' if len(outputs) == 1 else 'are'} not)"
