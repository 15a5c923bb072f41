"""Carries studies to a BrainMVP server and brings the results back.

``Client`` and ``AsyncClient`` share their verbs: ``models``, ``model``, ``ready``, ``identify``,
``predict``, ``mask``, ``results``, ``compare``; and for jobs ``submit``, ``jobs``, ``job``,
``job_results`` and ``end_job``. They import httpx and pydantic, nothing of the server.
"""

from brainmvp_clients.aclient import AsyncClient
from brainmvp_clients.answers import (
    Catalogue,
    Channel,
    Engine,
    ExpectedQuality,
    FilledModality,
    Finding,
    Findings,
    Job,
    Model,
    NotDeterminable,
    Output,
    Population,
    Probabilities,
    RealModality,
    RefusedBundle,
    Score,
    Structure,
    SubsetQuality,
    Summary,
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
    "UnexpectedAnswer",
]
