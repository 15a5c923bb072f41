"""``run.json``: how the last run over a folder went, for who puts the parts of a run together."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from brainmvp_clients.result_files import writing
from brainmvp_clients.score.ledger import RunKey
from brainmvp_clients.score.private_files import replacing_private
from brainmvp_clients.score.run import RunReport

RUN = "run.json"


class RunRecord(BaseModel):
    """``ended`` is false while a run is at work, and stays so where it was killed or stopped.

    ``in_bucket``: its results lie in a bucket and not below the folder. ``lines``: studies in the
    table as the run left it; None where none was left, or by releases that did not count.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    version: str
    bundle: str
    settings: str
    in_bucket: bool = False
    ended: bool = False
    done: int = 0
    skipped: int = 0
    refused: int = 0
    failed: int = 0
    lines: int | None = None

    @classmethod
    def begun(cls, key: RunKey, model: str, version: str, *, in_bucket: bool) -> RunRecord:
        """Of a run that begins."""
        return cls(
            model=model,
            version=version,
            bundle=key.bundle,
            settings=key.settings,
            in_bucket=in_bucket,
        )

    def of(self, report: RunReport, lines: int | None) -> RunRecord:
        """Of the same run when it is over, and its table closed."""
        return self.model_copy(
            update={
                "ended": not report.stopped,
                "done": report.done,
                "skipped": report.skipped,
                "refused": report.refused,
                "failed": report.failed,
                "lines": lines,
            }
        )

    def write(self, folder: Path) -> None:
        """Put it into its folder.

        Raises:
            Unwritable: it cannot be written.
        """
        with writing(folder / RUN), replacing_private(folder / RUN) as file:
            file.write(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> RunRecord | None:
        """A folder's; None where there is none that can be read, as before there were any."""
        try:
            return cls.model_validate_json((folder / RUN).read_bytes())
        except (OSError, ValidationError):
            return None
