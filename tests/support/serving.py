"""A real BrainMVP server for tests: a process of its own on a free port."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

_WAIT_S = 120


@dataclass(frozen=True)
class Server:
    """One that runs."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def until_at_work(self, at_work: bool = True) -> None:
        """Wait until it works on a study that it has wholly received, or on none."""
        deadline = time.monotonic() + _WAIT_S
        while (self._metric("brainmvp_study_memory_bytes") > 0) is not at_work:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics", timeout=_WAIT_S, trust_env=False).text
        families = text_string_to_metric_families(text)
        return sum(s.value for family in families for s in family.samples if s.name == name)


@contextmanager
def serving(models: Path, folder: Path, *arguments: object) -> Iterator[str]:
    """``brainmvp serve`` for the time of the block; its address."""
    with started(models, folder, *arguments) as server:
        yield server.url


@contextmanager
def started(models: Path, folder: Path, *arguments: object) -> Iterator[Server]:
    """``brainmvp serve`` for the time of the block, which may end it earlier."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", models, "--port", 0,
        *arguments,
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"listening on (http://\S+)", line):
                break
        else:
            raise RuntimeError((folder / "server.log").read_text())
        yield Server(found[1], process)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
