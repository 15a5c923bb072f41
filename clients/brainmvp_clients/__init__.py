"""Carries studies to a BrainMVP server and brings the results back.

``Client`` and ``AsyncClient`` share their verbs: ``models``, ``model``, ``ready``, ``identify``,
``predict``, ``mask``, ``results``, ``compare``; and for jobs ``submit``, ``jobs``, ``job``,
``job_results`` and ``end_job``. They import httpx and pydantic, nothing of the server.
"""

from brainmvp_clients.aclient import AsyncClient
from brainmvp_clients.answers import (
    Engine,
    ExpectedQuality,
    FilledModality,
    Finding,
    Findings,
    Job,
    NotDeterminable,
    Population,
    Probabilities,
    RealModality,
    Score,
    Structure,
    Summary,
    UndecidedOutput,
)
from brainmvp_clients.client import Client
from brainmvp_clients.comparisons import Comparison
from brainmvp_clients.dicom import DicomOptions
from brainmvp_clients.errors import (
    ClientError,
    LocalFileError,
    OutputExists,
    Problem,
    Refused,
    ServerFault,
    ServerUnreachable,
    UnexpectedAnswer,
)
from brainmvp_clients.served_models import (
    Catalogue,
    Channel,
    Model,
    OpenWith,
    Output,
    RefusedBundle,
    SubsetQuality,
)
from brainmvp_clients.upload import Times

__all__ = [
    "AsyncClient",
    "Catalogue",
    "Channel",
    "Client",
    "ClientError",
    "Comparison",
    "DicomOptions",
    "Engine",
    "ExpectedQuality",
    "FilledModality",
    "Finding",
    "Findings",
    "Job",
    "LocalFileError",
    "Model",
    "NotDeterminable",
    "OpenWith",
    "Output",
    "OutputExists",
    "Population",
    "Probabilities",
    "Problem",
    "RealModality",
    "Refused",
    "RefusedBundle",
    "Score",
    "ServerFault",
    "ServerUnreachable",
    "Structure",
    "SubsetQuality",
    "Summary",
    "Times",
    "UndecidedOutput",
    "UnexpectedAnswer",
]
