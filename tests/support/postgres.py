"""A real PostgreSQL of our own, for as long as a test needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ports import free_port

DEBIAN = Path("/usr/lib/postgresql/15/bin")


@dataclass(frozen=True)
class Postgres:
    """A cluster in a folder, which can be restarted."""

    binaries: Path
    data: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs; as another user where we are root, which it refuses."""
        command = [str(self.binaries / program), *arguments]
        if os.getuid() == 0:
            command = [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                *command,
            ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.data.parent)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.data.parent} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self.data.parent / "log")
        self.run("pg_ctl", "-D", str(self.data), "-o", options, "-l", log, "-w", "start")

    def stop(self, how: str = "immediate") -> None:
        self.run("pg_ctl", "-D", str(self.data), "-m", how, "-w", "stop")


@contextmanager
def fresh_postgres(program: Callable[[str], Path]) -> Iterator[Postgres]:
    """A fresh cluster on a free port; ``program`` finds a program by its name."""
    binaries = DEBIAN if (DEBIAN / "initdb").exists() else program("initdb").parent
    # Not under tmp_path: its parents are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="brainmvp-postgres-", dir="/tmp"))
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    cluster = Postgres(binaries, folder / "data", free_port())
    try:
        cluster.run("initdb", "-D", str(cluster.data), "-U", "postgres", "-A", "trust", "-N")
        cluster.start()
        with psycopg.connect(cluster.url) as connection:
            connection.execute("SELECT 1")
        yield cluster
    finally:
        try:
            cluster.stop("fast")
        finally:
            shutil.rmtree(folder)
