"""Real services as processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import onnx
import pytest
from onnx import helper

from brainmvp_models.bundle import Bundle, describe_file, find_bundles
from brainmvp_models.task import Task

Start = Callable[..., "Serving"]
WAIT_S = 180


@dataclass(eq=False)
class Serving:
    """A ``brainmvp serve`` process, a client of it, and what it printed."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + WAIT_S
        while not any(line.startswith("listening on ") for line in self.lines):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self._let_go()
                raise AssertionError("\n".join(self.lines))
            time.sleep(0.05)
        url = next(line for line in self.lines if line.startswith("listening on ")).split()[-1]
        self.http = httpx.Client(base_url=url, timeout=WAIT_S)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def post(self, study: Path, **query: str) -> str:
        """Post a job of one T1; its id."""
        with study.open("rb") as file:
            answer = self.http.post(
                "/v1/models/swift/jobs", files={"t1": file}, params={"fill": "zeros", **query}
            )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        """One job."""
        answer = self.http.get(f"/v1/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, job: str, *states: str) -> dict[str, Any]:
        """One job, once it is in one of these states."""
        deadline = time.monotonic() + WAIT_S
        while (now := self.job(job))["state"] not in states:
            assert time.monotonic() < deadline, now
            time.sleep(0.1)
        return now

    def mask(self, job: str) -> bytes:
        """The mask of a job that is done."""
        answer = self.http.get(f"/v1/jobs/{job}/results/mask.nii.gz")
        assert answer.status_code == 200, answer.text
        return answer.content

    def predicted(self, study: Path) -> bytes:
        """The mask that a prediction of the same study gives."""
        with study.open("rb") as file:
            answer = self.http.post(
                "/v1/models/swift/predict",
                files={"t1": file},
                params={"fill": "zeros"},
                headers={"accept": "application/gzip"},
            )
        assert answer.status_code == 200, answer.text
        return answer.content

    def end(self) -> None:
        """Wait for the process and let go of what belongs to it."""
        self._let_go()
        self.http.close()

    def _let_go(self) -> None:
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self, how: signal.Signals = signal.SIGTERM, within_s: float = 60) -> int:
        """End it; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(within_s)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    """Starts services of a model folder; settings by their own names. All end with the test."""
    started: list[Serving] = []

    def start(
        models: Path, *, environ: Mapping[str, str] | None = None, **settings: object
    ) -> Serving:
        command = [sys.executable, "-m", "brainmvp_clients.cli", "serve"]
        for name, value in {"models": models, "port": 0, **settings}.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
        )
        started.append(Serving(process))
        return started[-1]

    yield start
    for serving in started:
        if serving.process.poll() is None:
            serving.process.kill()
        serving.end()


@pytest.fixture(scope="session")
def swift_models(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with one real bundle whose network is two convolutions, so that it is quick.

    What is tested with it is how studies are served, not what the network says.
    """
    folder = tmp_path_factory.mktemp("models")
    source = next(found for found in find_bundles(bundles) if isinstance(found, Bundle))
    root = folder / "swift" / "1"
    shutil.copytree(source.root, root)
    write_network(root / source.manifest.network.file, source.task)
    files = tuple(describe_file(root / entry.path) for entry in source.manifest.files)
    manifest = source.manifest.model_copy(update={"name": "swift", "version": "1", "files": files})
    (root / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def write_network(path: Path, task: Task, seed: int = 0) -> None:
    """Two convolutions of the task's channels, with reproducible weights."""
    rng = np.random.default_rng(seed)
    channels, hidden, outputs = len(task.channels), 8, task.outputs.count
    weights = {
        "first": rng.standard_normal((hidden, channels, 3, 3, 3)).astype(np.float32),
        "second": rng.standard_normal((outputs, hidden, 1, 1, 1)).astype(np.float32),
    }
    size = list(task.window.size)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "first"], ["hidden"], pads=[1] * 6),
            helper.make_node("Relu", ["hidden"], ["positive"]),
            helper.make_node("Conv", ["positive", "second"], ["logits"]),
        ],
        "swift",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", channels, *size])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", outputs, *size])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def _cut(colin27: Path, folder: Path, name: str, shape: tuple[int, int, int]) -> Path:
    image = nib.load(colin27)
    part = image.slicer[tuple(slice(20, 20 + n) for n in shape)]
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(part.dataobj), part.affine), path)
    return path


@pytest.fixture(scope="session")
def small_study(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T1 of one window."""
    return _cut(colin27, tmp_path_factory.mktemp("study"), "small", (90, 90, 90))


@pytest.fixture(scope="session")
def large_study(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T1 of 27 windows."""
    return _cut(colin27, tmp_path_factory.mktemp("study"), "large", (150, 180, 150))
