"""A study as it came, whatever model is asked; and what one model is given of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_server.imaging.intake import Intake, IntakeOptions, chosen_for
from brainmvp_server.imaging.sources import Source
from brainmvp_server.inference.checked_study import CheckedStudy
from brainmvp_server.inference.result import Result
from brainmvp_server.results.findings import Findings
from brainmvp_server.settings.model import DicomSettings


@dataclass(frozen=True)
class ReceivedStudy:
    """What a request or a job brought.

    Attributes:
        named: the sources that were named by their modality.
        intake: what was identified; None where every part was named.
        kept_findings: what was found when a job was posted; None for what is found now.
        brain: a brain mask of the sender's own.
    """

    named: Mapping[Modality, Source]
    intake: Intake | None = None
    kept_findings: Findings | None = None
    brain: Path | None = None

    def sources(self, task: Task) -> dict[Modality, Source]:
        """What a model is given of it, by modality.

        Raises:
            InvalidInput: one of its kinds; see :func:`chosen_for`.
        """
        if self.intake is None:
            return dict(self.named)
        return chosen_for(self.intake, task.modalities, self.named)

    def findings(self, sources: Mapping[Modality, Source]) -> Findings:
        """What was identified, and what is to be said of the sources that a model is given."""
        return self.kept_findings or Findings.of(self.intake, sources)


@dataclass(frozen=True)
class GivenStudy:
    """What one model is given, checked, and what was found on the way to it."""

    checked: CheckedStudy
    findings: Findings


@dataclass(frozen=True, eq=False)
class Prediction:
    """A study's result, and what was found in its files."""

    result: Result
    findings: Findings


def intake_options(
    dicom: DicomSettings,
    assigned: Mapping[str, Modality | None] | None = None,
    b_value: float | None = None,
) -> IntakeOptions:
    """How a study is to be told apart: as its sender says, else as the settings do.

    Args:
        assigned: see :class:`IntakeOptions`.
        b_value: the diffusion weighting that is preferred, s/mm²; None for the settings' one.
    """
    return IntakeOptions(
        assigned=assigned or {},
        b_value=dicom.b_value if b_value is None else b_value,
        rules=dicom.identification_rules,
        fallback=dicom.dicom_fallback == "dcm2niix",
    )
