"""Writes the jobs' databases of an earlier version, as it leaves them when it is killed at work.

::

    python tests/compatibility/make_databases.py COMMIT v1

takes that version's code out of git and writes ``tests/compatibility/databases/v1``: for SQLite and
for PostgreSQL a job that is done, one that was running and one that was waiting, with their files.
What it wrote is never written again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from kept_fixtures import MODEL, until  # noqa: E402
from postgres import Postgres, fresh_postgres  # noqa: E402

MODELS = HERE / "fixtures" / "v0" / "models"
PACKAGES = ("models", "export", "server", "clients")
LARGE = ("report.html", "preview.png")
"""Results that are not kept."""
EDGE = {"done": 36, "waiting": 37, "running": 120}
"""Voxels of 1 mm along an edge of each job's study."""


def main(commit: str, version: str) -> None:
    """Write both databases, whole or not at all."""
    target = HERE / "databases" / version
    if target.exists():
        raise SystemExit(f"{target} exists: what a version left behind does not change")
    with tempfile.TemporaryDirectory() as scratch, fresh_postgres(found) as cluster:
        code, made = Path(scratch) / "code", Path(scratch) / "made"
        code.mkdir()
        archive = subprocess.run(
            ["git", "archive", commit, *PACKAGES], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x"], cwd=code, check=True, input=archive.stdout)
        for kind in ("sqlite", "postgresql"):
            folder = made / kind
            folder.mkdir(parents=True)
            words = ["--jobs-storage", str(folder / "storage"), "--executor", "worker"]
            if kind == "postgresql":
                secret = Path(scratch) / "url"
                secret.write_text(cluster.url)
                words += ["--jobs-database-file", str(secret)]
            kept = write_jobs(code, words)
            (folder / "jobs.json").write_text(json.dumps(kept, indent=1) + "\n")
        dumped = dump(cluster)
        (made / "postgresql" / "jobs.sql.gz").write_bytes(gzip.compress(dumped, 9, mtime=0))
        for name in (*LARGE, "*.sqlite-shm"):
            for leftover in made.rglob(name):
                leftover.unlink()
        shutil.copytree(made, target)


def found(name: str) -> Path:
    """Where a program is."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise SystemExit(f"{name} is not installed: make system")
    return Path(path)


def dump(cluster: Postgres) -> bytes:
    """The database as SQL that makes it anew."""
    words = ["--no-owner", "--inserts", "--schema=dbos", cluster.url]
    return subprocess.run(
        [str(cluster.binaries / "pg_dump"), *words], check=True, capture_output=True
    ).stdout


def write_jobs(code: Path, words: list[str]) -> dict[str, object]:
    """Have the version do a job, be killed at another, and leave a third; their ids."""
    kept: dict[str, object] = {}
    with served(code, words) as (process, http):
        kept["done"] = post(http, "done")
        until(lambda: state(http, kept["done"]) == "done")
        address = f"/v1/jobs/{kept['done']}"
        kept["results"] = {
            name: hashlib.sha256(http.get(f"{address}/results/{name}").content).hexdigest()
            for name in http.get(address).json()["results"]
            if name not in LARGE
        }
        kept["running"] = post(http, "running")
        until(lambda: state(http, kept["running"]) != "queued")
        process.send_signal(signal.SIGKILL)
        process.wait()
    with served(code, [*words, "--role", "api"]) as (_, http):
        assert state(http, kept["running"]) == "running", "it was too quick: try again"
        kept["waiting"] = post(http, "waiting")
    return kept


@contextmanager
def served(code: Path, words: list[str]) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """That version's service for the time of the block."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(str(code / name) for name in PACKAGES)}
    command = [sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", MODELS,
               "--port", 0, *words]  # fmt: skip
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        url = next(line.split()[-1] for line in process.stdout if "listening on" in line)
        with httpx.Client(base_url=url, timeout=120) as http:
            yield process, http
        process.terminate()


def post(http: httpx.Client, name: str) -> str:
    """Post nested ellipsoids as a job; its id."""
    edge = EDGE[name]
    x, y, z = (np.ogrid[:edge, :edge, :edge][axis] / edge - 0.5 for axis in range(3))
    radius = (x / 0.45) ** 2 + (y / 0.42) ** 2 + (z / 0.4) ** 2
    voxels = ((radius < 1) * 60 + (radius < 0.6) * 60 + (radius < 0.1) * 90).astype(np.uint8)
    content = gzip.compress(nib.Nifti1Image(voxels, np.eye(4)).to_bytes(), 9, mtime=0)
    answer = http.post(
        f"/v1/models/{MODEL}/jobs", files={"t1": ("t1.nii.gz", content)}, params={"fill": "zeros"}
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def state(http: httpx.Client, job: object) -> str:
    """How far a job is."""
    return str(http.get(f"/v1/jobs/{job}").json()["state"])


if __name__ == "__main__":
    main(*sys.argv[1:])
