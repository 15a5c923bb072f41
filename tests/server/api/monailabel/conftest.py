"""A service that answers viewers, with a real Orthanc behind it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainmvp_server.api.app import create_app
from brainmvp_server.api.caller import Scope
from brainmvp_server.api.security.keys import KeyFile, new_key
from brainmvp_server.settings import Settings
from dicom_studies import Study, write_study
from orthanc import PASSWORD, USER, Orthanc, orthanc

from ..conftest import Service, running

SESSION_S = 600
LEAVES_SOCKETS = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
"""For tests with MONAI Label's client: it closes no connection."""


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Four series, as much of a head as one window holds."""
    return write_study(tmp_path_factory.mktemp("study"), part=True)


@pytest.fixture(scope="module")
def pacs(
    program: Callable[[str], Path], study: Study, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    with orthanc(program, tmp_path_factory.mktemp("orthanc")) as running_orthanc:
        running_orthanc.add(study.files)
        yield running_orthanc


@pytest.fixture(scope="module")
def viewers(
    model_folder: Path, pacs: Orthanc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service that viewers are pointed at."""
    scratch = tmp_path_factory.mktemp("scratch")
    settings = Settings.of(
        models=model_folder,
        scratch=scratch,
        monailabel=True,
        monailabel_session_s=SESSION_S,
        pacs_url=pacs.dicomweb,
        pacs_user=USER,
        pacs_password=PASSWORD,
    )
    with running(create_app(settings)) as http:
        deadline = time.monotonic() + 120
        while http.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Service(http, scratch)
    assert list(scratch.iterdir()) == []


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, str, str]:
    """A file of two keys of scope ``predict``, and the keys."""
    (one, first), (other, second) = (new_key(name, (Scope.PREDICT,)) for name in ("one", "other"))
    path = tmp_path / "keys.json"
    KeyFile(keys=(first, second)).write(path)
    return path, one, other


@pytest.fixture
def client(viewers: Service, tmp_path: Path) -> Any:
    """MONAI Label's own client, which 3D Slicer's extension is made of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports cgi
        monailabel = pytest.importorskip("monailabel.client", reason="needs Python < 3.13")
    return monailabel.MONAILabelClient(str(viewers.http.base_url), str(tmp_path))
