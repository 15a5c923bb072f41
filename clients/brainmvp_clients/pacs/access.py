"""From what a user names on the command line to sources and sinks of a PACS."""

from __future__ import annotations

from dataclasses import dataclass, field

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs.credentials import Credentials
from brainmvp_clients.pacs.dicomweb import Dicomweb, DicomwebSink, DicomwebSource
from brainmvp_clients.pacs.dimse import Caller, Dimse, DimseSink, DimseSource, Peer
from brainmvp_clients.pacs.limits import MAX_IMAGE_MB
from brainmvp_clients.pacs.query import Query
from brainmvp_clients.pacs.storage_scp import StorageScp
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.score.protocols import Sink, Source


@dataclass(frozen=True)
class PacsAccess:
    """How we reach a PACS: our title, TLS and credentials."""

    title: str = "BRAINMVP"
    tls: Tls = field(default_factory=Tls)
    dimse_tls: bool = False
    credentials: Credentials = field(default_factory=Credentials)

    @property
    def caller(self) -> Caller:
        """Who calls over DIMSE."""
        return Caller(self.title, self.tls if self.dimse_tls else None)

    def dicomweb(self, url: str) -> Dicomweb:
        """A DICOMweb service.

        Raises:
            ClientError: the address is none.
        """
        return Dicomweb(url, self.credentials, self.tls)

    def dimse(self, peer: str) -> Dimse:
        """A DIMSE peer, ``TITLE@HOST:PORT``.

        Raises:
            ClientError: it is written otherwise.
        """
        return Dimse(Peer.parse(peer), self.caller)


def open_source(
    access: PacsAccess,
    query: Query,
    *,
    dicomweb: str | None,
    dimse: str | None,
    retrieve: str,
    port: int,
    image_mb: int = MAX_IMAGE_MB,
) -> Source:
    """The one PACS to fetch from.

    Raises:
        ClientError: it is written wrongly, or our own port cannot be had.
    """
    if dicomweb is not None:
        return DicomwebSource(access.dicomweb(dicomweb), query)
    if retrieve not in ("get", "move"):
        raise ClientError("is neither get nor move", remedy="Give one", subject="--retrieve")
    pacs = access.dimse(dimse or "")
    if retrieve == "get":
        return DimseSource(pacs, query)
    scp = StorageScp(access.title, port, tls=access.caller.tls, image_mb=image_mb)
    return DimseSource(pacs, query, scp)


def open_sinks(access: PacsAccess, *, dicomweb: list[str], dimse: list[str]) -> tuple[Sink, ...]:
    """Every PACS that results are sent to.

    Raises:
        ClientError: one is written wrongly.
    """
    return (
        *(DicomwebSink(access.dicomweb(url)) for url in dicomweb),
        *(DimseSink(access.dimse(peer)) for peer in dimse),
    )
