"""One study's line of the table of results."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from brainmvp_clients.answers import Summary
from brainmvp_clients.score.ledger import StudyState
from brainmvp_clients.score.measurements import Measured, measured_in


class Row(BaseModel):
    """One study's line. ``token`` is what logs call it; volumes are in millilitres.

    Attributes:
        not_determinable: outputs that the study's modalities cannot decide.
    """

    model_config = ConfigDict(frozen=True)

    study: str
    token: str
    state: StudyState
    model: str
    version: str
    real: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    volumes_ml: dict[str, float] = {}
    scores: dict[str, float] = {}
    not_determinable: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = 0.0
    measured: tuple[Measured, ...] = ()

    def line(self) -> str:
        """As JSON; without what there is nothing of and earlier versions did not write."""
        later = ("measured", "not_determinable")
        return self.model_dump_json(exclude={key for key in later if not getattr(self, key)}) + "\n"

    @classmethod
    def of(cls, study: str, token: str, summary: Summary, seconds: float) -> Row:
        """The line of a result."""
        return cls(
            study=study,
            token=token,
            state=StudyState.DONE,
            model=summary.model,
            version=summary.version,
            real=tuple(entry.modality for entry in summary.real),
            filled=tuple(entry.modality for entry in summary.filled),
            volumes_ml={entry.name: entry.volume_ml for entry in summary.structures},
            scores={entry.name: entry.score for entry in summary.scores},
            not_determinable=tuple(entry.output for entry in summary.not_determinable),
            warnings=summary.warnings,
            seconds=round(seconds, 3),
            measured=measured_in(summary),
        )
