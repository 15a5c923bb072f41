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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import onnx
import pytest
from onnx import helper
from prometheus_client.parser import text_string_to_metric_families

from brainmvp_models.bundle import Bundle, describe_file, find_bundles
from brainmvp_models.task import Task

Start = Callable[..., "Serving"]
WAIT_S = 180
AS_IT_IS = {"fill": "zeros", "prepare": "none"}
"""How a study is sent where serving is tested: looking for its brain costs more than all else."""


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
        while self.http.get("/health/ready").status_code != 200:
            if time.monotonic() > deadline:
                self.process.kill()
                self.end()
                raise AssertionError("it is never ready")
            time.sleep(0.05)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def post(self, study: Path, **query: str) -> str:
        """Post a job of one T1; its id."""
        with study.open("rb") as file:
            answer = self.http.post(
                "/v1/models/swift/jobs", files={"t1": file}, params={**AS_IT_IS, **query}
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
                params=AS_IT_IS,
                headers={"accept": "application/gzip"},
            )
        assert answer.status_code == 200, answer.text
        return answer.content

    def metric(self, name: str) -> float:
        """The sum of a metric's samples now."""
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        return sum(s.value for family in families for s in family.samples if s.name == name)

    def until_metric(self, name: str, least: float) -> None:
        """Wait until a metric has reached ``least``."""
        deadline = time.monotonic() + WAIT_S
        while self.metric(name) < least:
            assert time.monotonic() < deadline, name
            time.sleep(0.05)

    def end(self) -> None:
        """Wait for the process and let go of what belongs to it."""
        self._let_go()
        self.http.close()

    def _let_go(self) -> None:
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self, how: signal.Signals = signal.SIGTERM, within_s: float = 120) -> int:
        """End it; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(within_s)


@contextmanager
def services(folder: Path) -> Iterator[Start]:
    """Starts services of a model folder; settings by their own names. All end with the block.

    They are killed, so that what they work in is ``folder/serving``.
    """
    started: list[Serving] = []
    scratch = folder / "serving"
    scratch.mkdir()

    def start(
        models: Path, *, environ: Mapping[str, str] | None = None, **settings: object
    ) -> Serving:
        command = [sys.executable, "-m", "brainmvp_clients.cli", "serve"]
        for name, value in {"models": models, "port": 0, "scratch": scratch, **settings}.items():
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

    try:
        yield start
    finally:
        for serving in started:
            if serving.process.poll() is None:
                serving.process.kill()
            serving.end()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Start]:
    """Starts services that end with the test."""
    with services(tmp_path) as start:
        yield start


@pytest.fixture(scope="session")
def swift_models(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with one real bundle whose network is two convolutions, so that it is quick.

    What is tested with it is how studies are served, not what the network says.
    """
    folder = tmp_path_factory.mktemp("models")
    source = next(found for found in find_bundles(bundles) if isinstance(found, Bundle))
    root = folder / "swift" / "1"
    shutil.copytree(source.root, root)
    manifest = source.manifest.model_copy(update={"name": "swift", "version": "1"})
    (root / "manifest.json").write_text(manifest.model_dump_json())
    rewrite_network(root)
    return folder


@pytest.fixture(scope="session")
def steady_models(swift_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but a window takes about a tenth of a second, and a large study more than one.

    For tests that must catch a study on its way.
    """
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(swift_models, folder, dirs_exist_ok=True)
    rewrite_network(folder / "swift" / "1", steps=60_000)
    return folder


def rewrite_network(root: Path, **how: int) -> str:
    """Give a bundle another network of :func:`write_network`; its digest."""
    bundle = Bundle.open(root)
    write_network(bundle.network, bundle.task, **how)
    files = tuple(describe_file(root / entry.path) for entry in bundle.manifest.files)
    manifest = bundle.manifest.model_copy(update={"files": files})
    (root / "manifest.json").write_text(manifest.model_dump_json())
    return Bundle.open(root).digest


def write_network(path: Path, task: Task, seed: int = 0, steps: int = 0) -> None:
    """Two convolutions of the task's channels, with reproducible weights.

    Args:
        steps: of a sum that is added to the logits times 1e-30; each needs the one before, so that
            more processors do not make them quicker.
    """
    rng = np.random.default_rng(seed)
    channels, hidden, outputs = len(task.channels), 8, task.outputs.count
    weights = {
        "first": rng.standard_normal((hidden, channels, 3, 3, 3)).astype(np.float32),
        "second": rng.standard_normal((outputs, hidden, 1, 1, 1)).astype(np.float32),
    }
    size = list(task.window.size)
    last = "blocks" if steps else "logits"
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["hidden"], pads=[1] * 6),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("Conv", ["positive", "second"], [last]),
    ]
    if steps:
        nodes += _slow_sum(last, "logits")
        weights |= {
            "steps": np.array(steps, np.int64),
            "zeros": np.zeros((1, 8), np.float32),
            "least": np.array(1e-30, np.float32),
        }
    graph = helper.make_graph(
        nodes,
        "swift",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", channels, *size])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", outputs, *size])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def _slow_sum(given: str, result: str) -> list[onnx.NodeProto]:
    one = [1, 8]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes on"]),
            helper.make_node("Sigmoid", ["sum"], ["part"]),
            helper.make_node("Add", ["sum", "part"], ["new sum"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("going", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, one),
        ],
        [
            helper.make_tensor_value_info("goes on", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("new sum", onnx.TensorProto.FLOAT, one),
        ],
    )
    return [
        # Of the image, or it would be worked out once, when the network is loaded.
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0, 1, 2, 3, 4], keepdims=0),
        helper.make_node("Add", ["mean", "zeros"], ["begin"]),
        helper.make_node("Loop", ["steps", "", "begin"], ["end"], body=body),
        helper.make_node("ReduceSum", ["end"], ["total"], keepdims=0),
        helper.make_node("Mul", ["total", "least"], ["nothing"]),
        helper.make_node("Add", [given, "nothing"], [result]),
    ]


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
    """A T1 of a dozen windows."""
    return _cut(colin27, tmp_path_factory.mktemp("study"), "large", (150, 180, 150))
