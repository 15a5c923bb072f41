"""From options to sources, sinks and the server; what needs the ``pacs`` extra is imported late."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from brainmvp_clients.cli.options import needs_pacs
from brainmvp_clients.cli.problems import UsageProblem
from brainmvp_clients.client import Client
from brainmvp_clients.pacs.credentials import Credentials
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.score.bids import BidsSource
from brainmvp_clients.score.folders import FolderSource
from brainmvp_clients.score.protocols import Sink, Source
from brainmvp_clients.score.worklist import WorklistSource, read_uids

if TYPE_CHECKING:
    from brainmvp_clients.pacs.access import PacsAccess
    from brainmvp_clients.pacs.query import Query


@dataclass(frozen=True)
class Wanted:
    """Which studies, from where."""

    folder: Path | None
    bids: Path | None
    worklist: Path | None
    dicomweb: str | None
    dimse: str | None
    retrieve: str
    scp_port: int
    since: datetime | None
    until: datetime | None
    match: tuple[str, ...]
    only: str
    limit: int | None
    image_mb: int

    def __post_init__(self) -> None:
        given = [self.folder, self.bids, self.dicomweb, self.dimse]
        pacs = self.dicomweb or self.dimse
        if sum(entry is not None for entry in given) + bool(self.worklist and not pacs) != 1:
            raise UsageProblem(
                "studies must come from one place",
                remedy="Give one of --folder, --bids, --worklist, --dicomweb and --dimse",
            )
        if not pacs and (self.since or self.until or self.match):
            raise UsageProblem(
                "--since, --until and --match ask a PACS", remedy="Use --only for studies on disk"
            )
        if self.since and self.until and self.since > self.until:
            raise UsageProblem("--since is after --until", remedy="Give the earlier day first")

    def query(self) -> Query:
        """The same for a PACS."""
        from brainmvp_clients.pacs.query import Query, parse_match

        return Query(
            self.since.date() if self.since else None,
            self.until.date() if self.until else None,
            parse_match(list(self.match)),
            read_uids(self.worklist) if self.worklist else None,
            self.limit,
        )

    def on_disk(self) -> Source | None:
        """The source, if it is none of a PACS."""
        if self.folder is not None:
            return FolderSource(self.folder, self.only)
        if self.bids is not None:
            return BidsSource(self.bids, self.only)
        if self.worklist is not None and not (self.dicomweb or self.dimse):
            return WorklistSource(self.worklist, self.only)
        return None


@dataclass(frozen=True)
class Goals:
    """Where results go beside the output folder, and under which names."""

    dicomweb: tuple[str, ...]
    dimse: tuple[str, ...]
    deidentify: bool


@dataclass(frozen=True)
class Ways:
    """How we enter a PACS and the server."""

    aet: str
    credentials: Path | None
    ca: Path | None
    cert: Path | None
    key: Path | None
    dimse_tls: bool

    def access(self) -> PacsAccess:
        """For a PACS."""
        from brainmvp_clients.pacs.access import PacsAccess

        return PacsAccess(
            self.aet, Tls(self.ca, self.cert, self.key), self.dimse_tls, self.secrets()
        )

    def secrets(self) -> Credentials:
        """From the environment, or the file that was named."""
        return Credentials.read(self.credentials)

    def client(self, server: str) -> Client:
        """For the server."""
        api_key = self.secrets().api_key
        verify: ssl.SSLContext | bool = True
        if self.ca or self.cert:
            verify = Tls(self.ca, self.cert, self.key).client()
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        return Client(server, headers=headers, verify=verify)


def places(
    wanted: Wanted, goals: Goals, ways: Ways, stack: ExitStack
) -> tuple[Source, tuple[Sink, ...], str]:
    """Source, sinks, and the label of the pseudonyms' key where there are any."""
    source = wanted.on_disk()
    if source is None:
        with needs_pacs("brainmvp score with a PACS"):
            from brainmvp_clients.pacs.access import open_source
            from brainmvp_clients.pacs.library_logging import silence_libraries

        silence_libraries()
        source = open_source(
            ways.access(), wanted.query(), dicomweb=wanted.dicomweb, dimse=wanted.dimse,
            retrieve=wanted.retrieve, port=wanted.scp_port, image_mb=wanted.image_mb,
        )  # fmt: skip
    stack.callback(source.close)
    return delivered(source, goals, ways, stack)


def delivered(
    source: Source, goals: Goals, ways: Ways, stack: ExitStack
) -> tuple[Source, tuple[Sink, ...], str]:
    """The source as it is to be used, the sinks, and the label of the pseudonyms' key."""
    sinks: tuple[Sink, ...] = ()
    if goals.dicomweb or goals.dimse:
        with needs_pacs("sending results to a PACS"):
            from brainmvp_clients.pacs.access import open_sinks

        sinks = open_sinks(ways.access(), dicomweb=list(goals.dicomweb), dimse=list(goals.dimse))
    for sink in sinks:
        stack.callback(sink.close)
    if not goals.deidentify:
        return source, sinks, ""
    with needs_pacs("--deidentify"):
        return hidden(source, sinks, ways)


def hidden(
    source: Source, sinks: tuple[Sink, ...], ways: Ways
) -> tuple[Source, tuple[Sink, ...], str]:
    """The same with the server behind a pseudonymizer."""
    from brainmvp_clients.pacs.deidentify import Pseudonymizer
    from brainmvp_clients.pacs.pseudonyms import Pseudonyms

    pseudonyms = Pseudonyms.of(ways.secrets().pseudonym_key)
    pseudonymizer = Pseudonymizer(pseudonyms)
    return pseudonymizer.source(source), tuple(map(pseudonymizer.sink, sinks)), pseudonyms.label
