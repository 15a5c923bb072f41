"""Options that scoring and listening share."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from brainmvp_clients.cli.problems import MissingExtra, UsageProblem
from brainmvp_clients.dicom import DicomOptions, Frames, Segmentation


def option(metavar: str | None, description: str, panel: str, *names: str) -> Any:
    """An option's description and the panel of ``--help`` that it stands in."""
    return typer.Option(*names, metavar=metavar, help=description, rich_help_panel=panel)


RUN, SEND, CONNECTION, DICOM = "Run", "Results", "Doors", "Studies as DICOM"

_NUMBERED = re.compile(r"[0-9]+(\.[0-9]+)?:[A-Za-z0-9]+")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name on the server.")]
Out = Annotated[Path, option("DIR", "Folder for ledger, table and results.", RUN)]
Server = Annotated[str, option("URL", "The BrainMVP server.", RUN)]
Version = Annotated[str | None, option("V", "The model's version, not the latest.", RUN)]
Fill = Annotated[str | None, option("POLICY", "Missing modalities, as for predict.", RUN)]
Resample = Annotated[
    bool, option(None, "Bring NIfTI on other grids onto the first one's.", RUN, "--resample")
]
Form = Annotated[
    Literal["sform", "qform"] | None,
    option(None, "What places NIfTI where its header's two forms disagree.", RUN, "--form"),
]
Probabilities = Annotated[bool, option(None, "Keep probabilities too.", RUN, "--probabilities")]
Concurrency = Annotated[
    int, typer.Option(min=1, max=64, help="Studies at once.", rich_help_panel=RUN)
]
Rate = Annotated[
    float | None, typer.Option(min=0.01, help="Studies a minute at most.", rich_help_panel=RUN)
]
Attempts = Annotated[
    int, typer.Option(min=1, max=100, help="Attempts for what may pass.", rich_help_panel=RUN)
]
SendDicomweb = Annotated[
    list[str] | None, option("URL", "Store DICOM results here by STOW-RS; repeatable.", SEND)
]
SendDimse = Annotated[
    list[str] | None,
    option("TITLE@HOST:PORT", "Store DICOM results here by C-STORE; repeatable.", SEND),
]
Deidentify = Annotated[
    bool, option(None, "Send the server pseudonyms; results regain their names.", SEND)
]
Assign = Annotated[
    list[str] | None,
    option("NUMBER:MODALITY", "What a series is; NUMBER:none leaves it out; repeatable.", DICOM),
]
BValue = Annotated[
    float | None, option("S/MM2", "The diffusion weighting that is preferred.", DICOM)
]
Seg = Annotated[
    Segmentation | None, option(None, "How the segmentation is encoded.", DICOM, "--seg")
]
SegFrames = Annotated[
    Frames | None, option(None, "Frames without a segment are left out, or not.", DICOM)
]
Overlay = Annotated[
    bool, option(None, "Secondary captures with the mask in colour, too.", DICOM, "--overlay")
]
Aet = Annotated[str, option("TITLE", "Our application entity title.", CONNECTION)]
File = Annotated[
    Path | None, option("FILE", "NAME=VALUE lines that override the environment's.", CONNECTION)
]
Ca = Annotated[Path | None, option("FILE", "Authorities to trust, PEM.", CONNECTION)]
Cert = Annotated[Path | None, option("FILE", "Our certificate, PEM.", CONNECTION)]
Key = Annotated[Path | None, option("FILE", "Its key, PEM.", CONNECTION)]
ImageMb = Annotated[
    int,
    typer.Option(
        metavar="MIB", min=1, help="Largest image that our SCP takes.", rich_help_panel=CONNECTION
    ),
]
DimseTls = Annotated[bool, option(None, "TLS for DIMSE.", CONNECTION, "--dimse-tls")]
Json = Annotated[bool, option(None, "Print the report as JSON.", RUN, "--json")]
Quiet = Annotated[bool, option(None, "Print nothing but errors.", RUN, "--quiet")]


def dicom_options(
    assign: list[str] | None,
    b_value: float | None,
    seg: Segmentation | None,
    seg_frames: Frames | None,
    overlay: bool,
) -> DicomOptions:
    """What is asked about every study alike.

    Raises:
        UsageProblem: an assignment is none, or names one study's series; or a b-value is none.
    """
    for entry in assign or ():
        if not _NUMBERED.fullmatch(entry):
            raise UsageProblem(
                "is no assignment for many studies",
                remedy="Write it as NUMBER:MODALITY, with the number that the series always has",
                subject="--assign",
            )
    if b_value is not None and not 0 < b_value < math.inf:
        raise UsageProblem("is no b-value", remedy="Give s/mm² above 0", subject="--b-value")
    return DicomOptions(tuple(assign or ()), b_value, seg, seg_frames, overlay)


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
