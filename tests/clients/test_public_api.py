"""The names that others rely on, and what importing them costs."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import pytest

import brainmvp_clients
from brainmvp_clients import AsyncClient, Client, ClientError, Problem, Refused, ServerFault


def test_public_names_do_not_change_by_accident() -> None:
    assert brainmvp_clients.__all__ == [
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
    assert all(hasattr(brainmvp_clients, name) for name in brainmvp_clients.__all__)


@pytest.mark.parametrize(
    "verb",
    [
        "ready",
        "models",
        "model",
        "identify",
        "predict",
        "mask",
        "results",
        "submit",
        "jobs",
        "job",
        "job_results",
        "end_job",
    ],
)
def test_both_clients_take_the_same_arguments(verb: str) -> None:
    assert inspect.signature(getattr(Client, verb)) == inspect.signature(getattr(AsyncClient, verb))
    assert inspect.getdoc(getattr(Client, verb)) == inspect.getdoc(getattr(AsyncClient, verb))


def test_every_error_of_the_package_is_a_client_error() -> None:
    errors = [
        item
        for name in brainmvp_clients.__all__
        if isinstance(item := getattr(brainmvp_clients, name), type) and issubclass(item, Exception)
    ]
    assert len(errors) == 7
    assert all(issubclass(error, ClientError) for error in errors)


def test_client_imports_nothing_of_the_server_side() -> None:
    code = (
        "import sys, brainmvp_clients, brainmvp_clients.cli.predict, brainmvp_clients.cli.models\n"
        "heavy = {'brainmvp_models', 'brainmvp_server', 'brainmvp_export', 'numpy', 'torch'}\n"
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": _source()}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


@pytest.mark.parametrize(
    "error",
    [
        ClientError("is broken", remedy="Mend it", subject="t1"),
        Refused(Problem(status=422, detail="No T1.", remedy="Add it.", part="t1"), server="s"),
        ServerFault(Problem(status=503), server="http://s", retry_after=5),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_a_process_boundary(error: ClientError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_error_text_is_one_printable_line_whatever_the_server_writes() -> None:
    error = Refused(
        Problem(status=422, detail="bad\r\n\x1b[31mred" + "x" * 2000, remedy="a\nb"), server="s"
    )
    assert str(error).isprintable()
    assert len(str(error)) < 800


def _source() -> str:
    return str(brainmvp_clients.__path__[0]).removesuffix("brainmvp_clients")
