"""What a bundle knows of its probabilities: how they become the frequencies that were counted."""

from __future__ import annotations

from pydantic import Field

from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import FillPolicy, Frozen, Outputs, RegionOutputs, ScoreOutputs

WHOLE = "all"
"""The output that a classification's answer has in a calibration and in the card."""


class OutputCalibration(Frozen):
    """How one output's probability is corrected: its logit is divided, then the offset added.

    Temperature scaling (Guo et al., On Calibration of Modern Neural Networks, ICML 2017) with the
    offset of Platt (Advances in Large Margin Classifiers, 1999). It keeps the order of
    probabilities.
    """

    output: str = Field(description="A region, a class, or 'all' for the scores of a study.")
    temperature: float = Field(gt=0, description="Above 1 where the network is too sure.")
    offset: float = Field(default=0.0, description="Of the logit; 0 for the scores of a study.")

    @property
    def corrects(self) -> bool:
        """Whether it changes a probability: not where no correction held for other studies."""
        return (self.temperature, self.offset) != (1.0, 0.0)


class CalibratedSetting(Frozen):
    """Modalities that were real, and how the others were filled."""

    real: tuple[Modality, ...] = Field(min_length=1)
    fill: FillPolicy


class Calibration(Frozen):
    """``calibration`` of a manifest: one correction for each output, and what it was fitted on."""

    outputs: tuple[OutputCalibration, ...] = Field(min_length=1)
    settings: tuple[CalibratedSetting, ...] = Field(min_length=1)
    studies: int = Field(gt=0)
    command: str
    datalist: str = Field(description="SHA-256 of the list of cases.")
    section: str
    created: str = Field(description="UTC, ISO 8601.")
    population: Population | None = Field(
        default=None, description="Whom it was fitted on; null where that is not recorded."
    )

    def of(self, output: str) -> OutputCalibration:
        """The correction of one output.

        Raises:
            KeyError: there is none.
        """
        return {one.output: one for one in self.outputs}[output]


def calibrated_outputs(outputs: Outputs) -> tuple[str, ...]:
    """What a task's calibration has to correct: regions, classes but the background, or all."""
    if isinstance(outputs, ScoreOutputs):
        return (WHOLE,)
    if isinstance(outputs, RegionOutputs):
        return tuple(region.name for region in outputs.regions)
    return tuple(entry.name for entry in outputs.classes[1:])
