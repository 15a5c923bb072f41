"""A real service on 127.0.0.1 over the tiny bundle, a classifier and a broken bundle."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from brainmvp_models.bundle import Bundle
from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings

UPLOAD_LIMIT = 4 << 20


@dataclass(frozen=True)
class Service:
    """A running service: a client of it, its scratch folder."""

    http: httpx.Client
    scratch: Path

    def predict(self, model: str = "tiny", **request: object) -> httpx.Response:
        return self.http.post(f"/v1/models/{model}/predict", **request)  # type: ignore[arg-type]


@contextmanager
def running(app: FastAPI) -> Iterator[httpx.Client]:
    """The app under a real uvicorn on a free port, and a client of it."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    listener.listen()  # from now on clients wait until the server has started
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    port = listener.getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as http:
            yield http
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def model_folder(
    coarse_bundle: Bundle, grade_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(coarse_bundle.root, folder / "tiny" / "1")
    shutil.copytree(grade_bundle.root, folder / "grade" / "1")
    broken = folder / "broken" / "1"
    shutil.copytree(coarse_bundle.root, broken)
    with (broken / "model.onnx").open("ab") as file:
        file.write(b"x")
    return folder


@pytest.fixture(scope="session")
def service(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    scratch = tmp_path_factory.mktemp("scratch")
    app = create_app(
        Settings.of(
            models=model_folder,
            upload_mb=UPLOAD_LIMIT >> 20,
            upload_parts=6,
            volume_mvoxels=3,
            scratch=scratch,
        )
    )
    with running(app) as http:
        deadline = time.monotonic() + 120
        while http.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Service(http, scratch)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sends, the service keeps nothing of it."""
    yield
    if "service" in request.fixturenames:
        scratch = request.getfixturevalue("service").scratch
        deadline = time.monotonic() + 60
        while (left := list(scratch.iterdir())) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []


@pytest.fixture(scope="session")
def scan(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small part of a real scan: one window, so that a prediction is quick."""
    image = nib.load(colin27)
    part = image.slicer[50:130, 70:150, 50:130]
    path = tmp_path_factory.mktemp("scan") / "Doe^Jane_19700101.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(part.dataobj), part.affine), path)
    return path
