"""A real service to be fuzzed: it must answer every time, and be as large after as before.

``BRAINMVP_FUZZ_CASES`` is the number of cases; `make fuzz` asks for 10,000.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("BRAINMVP_FUZZ_CASES", "300"))
STUDY = nib.Nifti1Image(
    np.random.default_rng(0).random((24, 24, 24), dtype=np.float32), np.diag([2.0, 2.0, 2.0, 1.0])
).to_bytes()
"""A study that is served, so that the network is in memory before it is measured."""
GROWTH = 64 << 20
"""Bytes that the service may grow by: the allocator's play, not a leak's."""


def cases(share: float) -> settings:
    """Hypothesis' settings for so large a part of the cases."""
    return settings(
        max_examples=max(int(CASES * share), 5),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@dataclass
class Target:
    """The service: a client of it, its process, what it has logged."""

    http: httpx.Client
    process: psutil.Process
    logged: list[str] = field(default_factory=list)

    @property
    def predict(self) -> str:
        return "/v1/models/demo-glioma/predict"

    def send(self, **request: object) -> httpx.Response:
        """Post to predict; the answer, seen to be fit for a stranger."""
        answer = self.http.post(self.predict, **request)  # type: ignore[arg-type]
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400 and "/problem+json" in answer.headers["content-type"]:
            problem = answer.json()
            assert problem["detail"] and problem["remedy"]
            assert "Traceback" not in answer.text and "/tmp" not in answer.text
        return answer


@pytest.fixture(scope="session")
def target(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    scratch = tmp_path_factory.mktemp("scratch")
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", str(bundles),
        "--port", "0", "--volume-mvoxels", "1", "--upload-mb", "8", "--scratch", str(scratch),
        "--jobs-storage", str(tmp_path_factory.mktemp("jobs")),
    ]  # fmt: skip
    logged: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        out = server.stdout
        address = next(line.split()[-1] for line in out if line.startswith("listening on "))
        reader = threading.Thread(target=lambda: logged.extend(out))
        reader.start()
        try:
            with httpx.Client(base_url=address, timeout=60) as http:
                service = Target(http, psutil.Process(server.pid), logged)
                assert service.send(files={"t1": STUDY}).status_code == 200
                for _ in range(50):
                    service.send(files={"t1": b"warm" * 100_000, "flair": b"up"})
                before = service.process.memory_info().rss
                yield service
                assert http.get("/health/ready").status_code == 200
                assert service.process.memory_info().rss - before < GROWTH
                assert list(scratch.iterdir()) == []
        finally:
            server.terminate()
            server.wait(60)
            reader.join()
    assert [line for line in logged if " error " in line[:50]] == []
