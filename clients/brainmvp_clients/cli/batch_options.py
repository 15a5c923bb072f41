"""Options that scoring and listening share, in the groups that go together."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from brainmvp_clients import wire
from brainmvp_clients.cli.problems import MissingExtra, UsageProblem
from brainmvp_clients.client import Client
from brainmvp_clients.dicom import DicomOptions, Frames, Segmentation
from brainmvp_clients.pacs.credentials import Credentials
from brainmvp_clients.pacs.limits import MAX_IMAGE_MB
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.score.retry import Backoff
from brainmvp_clients.score.run import RunPolicy
from brainmvp_clients.score.table_files import WriteTables, write_csv

if TYPE_CHECKING:
    from brainmvp_clients.pacs.access import PacsAccess


def option(metavar: str | None, description: str, panel: str, *names: str) -> Any:
    """An option's description and the panel of ``--help`` that it stands in."""
    return typer.Option(*names, metavar=metavar, help=description, rich_help_panel=panel)


RUN, _SEND, _CONNECTION, _DICOM = "Run", "Results", "Doors", "Studies as DICOM"

_NUMBERED = re.compile(r"[0-9]+(\.[0-9]+)?:[A-Za-z0-9]+")

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name on the server.")]
Out = Annotated[Path, option("DIR", "Folder for ledger, table and results.", RUN)]
Json = Annotated[bool, option(None, "Print the report as JSON.", RUN, "--json")]
Parquet = Annotated[bool, option(None, "Write the tables as Parquet, too.", RUN, "--parquet")]
Quiet = Annotated[bool, option(None, "Print nothing but errors.", RUN, "--quiet")]


@dataclass(frozen=True)
class DestinationOptions:
    """Where results go beside the output folder, and under which names."""

    send_dicomweb: Annotated[
        list[str] | None,
        option("URL", "Store DICOM results here by STOW-RS; repeatable.", _SEND),
    ] = None
    send_dimse: Annotated[
        list[str] | None,
        option("TITLE@HOST:PORT", "Store DICOM results here by C-STORE; repeatable.", _SEND),
    ] = None
    bucket: Annotated[
        str | None, option("URL", "Keep results in this bucket, not in the folder.", _SEND)
    ] = None
    deidentify: Annotated[
        bool, option(None, "Send the server pseudonyms; results regain their names.", _SEND)
    ] = False


@dataclass(frozen=True)
class PredictionOptions:
    """Which server works with which model, and what is asked of it about every study."""

    server: Annotated[str, option("URL", "The BrainMVP server.", RUN)] = wire.DEFAULT_SERVER
    version: Annotated[str | None, option("V", "The model's version, not the latest.", RUN)] = None
    fill: Annotated[str | None, option("POLICY", "Missing modalities, as for predict.", RUN)] = None
    resample: Annotated[
        bool, option(None, "Bring NIfTI on other grids onto the first one's.", RUN, "--resample")
    ] = False
    form: Annotated[
        Literal["sform", "qform"] | None,
        option(None, "What places NIfTI where its header's two forms disagree.", RUN, "--form"),
    ] = None
    prepare: Annotated[
        Literal["auto", "none"],
        option(None, "Prepare raw heads, or take studies as they are.", RUN, "--prepare"),
    ] = "auto"
    space: Annotated[
        str | None,
        option("SERIES", "Whose grid results of prepared studies lie on: a modality.", RUN),
    ] = None
    probabilities: Annotated[
        bool, option(None, "Keep probabilities too.", RUN, "--probabilities")
    ] = False
    not_determinable: Annotated[
        bool,
        option(None, "Give what cannot be decided too, marked.", RUN, "--not-determinable"),
    ] = False
    profile: Annotated[
        Literal["reference", "speed"] | None,
        option(None, "Windows as published, or fewer, where proved.", RUN, "--profile"),
    ] = None


@dataclass(frozen=True)
class DicomStudyOptions:
    """What is asked about every DICOM study alike.

    Raises:
        UsageProblem: an assignment is none, or names one study's series; or a b-value is none.
    """

    assign: Annotated[
        list[str] | None,
        option(
            "NUMBER:MODALITY", "What a series is; NUMBER:none leaves it out; repeatable.", _DICOM
        ),
    ] = None
    b_value: Annotated[
        float | None, option("S/MM2", "The diffusion weighting that is preferred.", _DICOM)
    ] = None
    seg: Annotated[
        Segmentation | None, option(None, "How the segmentation is encoded.", _DICOM, "--seg")
    ] = None
    seg_frames: Annotated[
        Frames | None, option(None, "Frames without a segment are left out, or not.", _DICOM)
    ] = None
    overlay: Annotated[
        bool, option(None, "Secondary captures with the mask in colour, too.", _DICOM, "--overlay")
    ] = False

    def __post_init__(self) -> None:
        for entry in self.assign or ():
            if not _NUMBERED.fullmatch(entry):
                raise UsageProblem(
                    "is no assignment for many studies",
                    remedy="Write it as NUMBER:MODALITY, with the number that the series always "
                    "has",
                    subject="--assign",
                )
        if self.b_value is not None and not 0 < self.b_value < math.inf:
            raise UsageProblem("is no b-value", remedy="Give s/mm² above 0", subject="--b-value")

    @property
    def asked(self) -> DicomOptions:
        """The same for the client."""
        return DicomOptions(
            tuple(self.assign or ()), self.b_value, self.seg, self.seg_frames, self.overlay
        )


@dataclass(frozen=True)
class PaceOptions:
    """How many studies at once, how many a minute, and how often each is tried."""

    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Studies at once.", rich_help_panel=RUN)
    ] = 2
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Studies a minute at most.", rich_help_panel=RUN)
    ] = None
    attempts: Annotated[
        int, typer.Option(min=1, max=100, help="Attempts for what may pass.", rich_help_panel=RUN)
    ] = 6

    def policy(self, *, retry_refused: bool = False) -> RunPolicy:
        """The same for a run."""
        return RunPolicy(self.concurrency, self.rate, Backoff(self.attempts), retry_refused)


@dataclass(frozen=True)
class ConnectionOptions:
    """How we reach a PACS and the server: our title, credentials and TLS."""

    aet: Annotated[str, option("TITLE", "Our application entity title.", _CONNECTION)] = "BRAINMVP"
    credentials: Annotated[
        Path | None,
        option("FILE", "NAME=VALUE lines that override the environment's.", _CONNECTION),
    ] = None
    ca: Annotated[Path | None, option("FILE", "Authorities to trust, PEM.", _CONNECTION)] = None
    cert: Annotated[Path | None, option("FILE", "Our certificate, PEM.", _CONNECTION)] = None
    key: Annotated[Path | None, option("FILE", "Its key, PEM.", _CONNECTION)] = None
    dimse_tls: Annotated[bool, option(None, "TLS for DIMSE.", _CONNECTION, "--dimse-tls")] = False
    image_mb: Annotated[
        int,
        typer.Option(
            metavar="MIB",
            min=1,
            help="Largest image that our SCP takes.",
            rich_help_panel=_CONNECTION,
        ),
    ] = MAX_IMAGE_MB

    @property
    def tls(self) -> Tls:
        """Whom we trust and what we show."""
        return Tls(self.ca, self.cert, self.key)

    def secrets(self) -> Credentials:
        """From the environment, or the file that was named.

        Raises:
            LocalFileError: the file cannot be used.
        """
        return Credentials.read(self.credentials)

    def pacs(self) -> PacsAccess:
        """For a PACS.

        Raises:
            LocalFileError: the file of credentials cannot be used.
        """
        from brainmvp_clients.pacs.access import PacsAccess

        return PacsAccess(self.aet, self.tls, self.dimse_tls, self.secrets())

    def client(self, server: str) -> Client:
        """For the server.

        Raises:
            ClientError: the address is none, or a file cannot be used.
        """
        api_key = self.secrets().api_key
        verify: ssl.SSLContext | bool = True
        if self.ca or self.cert:
            verify = self.tls.client()
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        return Client(server, headers=headers, verify=verify)


def table_formats(command: str, *, parquet: bool) -> tuple[WriteTables, ...]:
    """The formats that tables are written in.

    Raises:
        MissingExtra: the packages for Parquet are not installed.
    """
    if not parquet:
        return (write_csv,)
    try:
        from brainmvp_clients.score.parquet import write_parquet
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{command} --parquet", "parquet", f"there is no {error.name}") from None
    return write_csv, write_parquet


@contextmanager
def needs_pacs(command: str) -> Iterator[None]:
    """Turns a missing package into the extra that brings it.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(command, "pacs", f"there is no {error.name}") from None
