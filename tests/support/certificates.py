"""A certificate authority for one test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ALGORITHM = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True)
class Certificates:
    """PEM files of an authority, and of one host, 127.0.0.1, that it vouches for."""

    ca: Path
    cert: Path
    key: Path


def certificates(program: Callable[[str], Path], folder: Path) -> Certificates:
    """Make an authority and a certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    openssl = str(program("openssl"))

    def run(*arguments: object) -> None:
        subprocess.run([openssl, *map(str, arguments)], check=True, capture_output=True)

    ca_key, request, names = folder / "ca.key", folder / "request.pem", folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    run("req", "-x509", *_ALGORITHM, "-subj", "/CN=ca", "-keyout", ca_key, "-out", made.ca)
    run("req", "-new", *_ALGORITHM[:-2], "-subj", "/CN=host", "-keyout", made.key, "-out", request)
    run(
        "x509", "-req", "-in", request, "-CA", made.ca, "-CAkey", ca_key, "-CAcreateserial",
        "-days", "2", "-extfile", names, "-out", made.cert,
    )  # fmt: skip
    return made
