"""One run over one output folder, from its opening to its last line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from brainmvp_clients.client import Client
from brainmvp_clients.errors import OutputExists
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.folder_sink import FolderSink
from brainmvp_clients.score.ledger import Ledger
from brainmvp_clients.score.private_files import make_private
from brainmvp_clients.score.protocols import Sink, Source
from brainmvp_clients.score.run import BatchRunner, OnStudy, RunPolicy, RunReport
from brainmvp_clients.score.served_model import ResultSettings, ServedModel
from brainmvp_clients.score.study_files import Study
from brainmvp_clients.score.table import Table

LEDGER, STUDIES, SPOOL = "ledger.sqlite", "studies", "spool"


@dataclass(frozen=True)
class Batch:
    """What is scored with what, and where everything goes."""

    model: str
    version: str | None
    source: Source
    sinks: tuple[Sink, ...]
    out: Path
    settings: ResultSettings
    policy: RunPolicy = field(default_factory=RunPolicy)
    resume: bool = False
    stop: threading.Event = field(default_factory=threading.Event)

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
        served = self.served(client)
        check_folder(self.out, resume=self.resume)
        make_private(self.out)
        with ExitStack() as stack, writing(self.out):
            ledger = Ledger(self.out / LEDGER, served.run)
            stack.callback(ledger.close)
            table = Table(self.out)
            stack.callback(table.close)
            scorer = BatchRunner(
                served.model.name,
                served.model.version,
                self.source,
                (*self.sinks, FolderSink(self.out / STUDIES)),
                ledger,
                table,
                self.out,
                served.predict,
                self.policy,
                on_study,
                self.stop,
            )
            return scorer.run(studies)


def check_folder(out: Path, *, resume: bool) -> None:
    """See that the output folder is new, or holds an earlier run that is to be gone on with.

    Raises:
        OutputExists: it is neither.
    """
    with writing(out):
        names = {path.name for path in out.iterdir()} - {SPOOL} if out.is_dir() else set()
    if LEDGER in names and not resume:
        raise OutputExists(
            "holds an earlier run",
            remedy="Go on with it by --resume, or give another folder",
            subject=str(out),
        )
    if names and LEDGER not in names:
        raise OutputExists(
            "is not empty and holds no earlier run", remedy="Give a new folder", subject=str(out)
        )


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
