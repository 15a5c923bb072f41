"""No library below the engines speaks to anybody, or forks the service to do so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_server.inference.engines import ENGINES, installed_engines

PROGRAM = """
import sys, time
from pathlib import Path

def hook(event, arguments):
    if event in ("os.fork", "os.posix_spawn", "socket.connect", "socket.getaddrinfo"):
        print(event)

sys.addaudithook(hook)
import numpy as np
from brainmvp_server.inference.engines import load_engine
engine = load_engine(Path(sys.argv[1]), sys.argv[2])
engine.infer(np.zeros((1, 4, 32, 48, 64), np.float32))
time.sleep(0.5)  # reports are sent from a thread
print("telemetry" if sys.modules.get("openvino_telemetry") else "silent")
"""


@pytest.mark.parametrize("engine", [e for e in installed_engines() if not ENGINES[e].on_gpu])
def test_an_engine_at_work_tells_nobody_and_forks_nothing(
    small_bundle: Bundle, engine: str
) -> None:
    network = small_bundle.root / ("model.pt2" if engine.startswith("torch") else "model.onnx")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(network), engine],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["silent"]
