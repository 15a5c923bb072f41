"""One run over one output folder, from its opening to its last line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import FrameType

from brainmvp_clients.client import Client
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.folder_sink import FolderSink
from brainmvp_clients.score.ledger import Ledger
from brainmvp_clients.score.output_folder import LEDGER, WORK, OutputFolder
from brainmvp_clients.score.protocols import Sink, Source
from brainmvp_clients.score.run import BatchRunner, OnStudy, RunPolicy, RunReport
from brainmvp_clients.score.run_record import RunRecord
from brainmvp_clients.score.served_model import ResultSettings, ServedModel
from brainmvp_clients.score.shard import Shard
from brainmvp_clients.score.study_files import Study
from brainmvp_clients.score.table import Table
from brainmvp_clients.score.table_files import WriteTables, write_csv

OpenBucket = Callable[[Callable[[str], PurePosixPath]], Sink]
"""Opens the bucket that results go to; is told where a study's result lies, by its name."""


@dataclass(frozen=True)
class Batch:
    """What is scored with what, and where everything goes.

    Results lie in ``bucket``, where there is one, and else below ``out``.
    """

    model: str
    version: str | None
    source: Source
    sinks: tuple[Sink, ...]
    out: Path
    settings: ResultSettings
    policy: RunPolicy = field(default_factory=RunPolicy)
    resume: bool = False
    shard: Shard | None = None
    formats: tuple[WriteTables, ...] = (write_csv,)
    bucket: OpenBucket | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def folder(self) -> OutputFolder:
        """Where ledger and tables are, and results that go to no bucket."""
        return OutputFolder(self.out, self.shard)

    def served(self, client: Client) -> ServedModel:
        """The model to use.

        Raises:
            ClientError: the server does not answer, or has no such model.
        """
        return ServedModel(client, self.model, self.version, self.settings)

    def run(
        self,
        client: Client,
        studies: Iterable[Study],
        on_study: OnStudy | None = None,
    ) -> RunReport:
        """Score the studies; the folder holds the ledger, the table and the results.

        Raises:
            ClientError: nothing could be begun, or the run could not go on.
        """
        served, folder = self.served(client), self.folder
        folder.open(resume=self.resume)
        model, results = served.model, self._results(folder)
        with writing(self.out), closing(Ledger(folder.own / LEDGER, served.run)) as ledger:
            record = RunRecord.begun(
                served.run, model.name, model.version, in_bucket=self.bucket is not None
            )
            record.write(folder.own)
            with closing(Table(folder.own, self.formats)) as table:
                report = BatchRunner(
                    model.name,
                    model.version,
                    self.source,
                    (*self.sinks, results),
                    ledger,
                    table,
                    folder.own,
                    served.predict,
                    self.policy,
                    on_study,
                    self.stop,
                ).run(studies)
            record.of(report, table.lines).write(folder.own)
        return report

    def _results(self, folder: OutputFolder) -> Sink:
        if self.bucket is not None:
            return self.bucket(folder.place)
        return FolderSink(folder.studies, folder.place, folder.own / WORK if self.shard else None)


@contextmanager
def stopped_by_signals(stop: threading.Event, at_once: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM set ``stop``; the second of them calls ``at_once``."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            at_once()
        stop.set()

    before = {kind: signal.signal(kind, handle) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
