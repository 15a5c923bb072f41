"""A real BrainMVP server for tests: a process of its own on a free port."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(models: Path, folder: Path, *arguments: object) -> Iterator[str]:
    """``brainmvp serve`` for the time of the block; its address."""
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
        yield found[1]
    finally:
        process.terminate()
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
