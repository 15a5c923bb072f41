"""Secrets from the environment or from a file that only its owner reads; never from arguments."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from brainmvp_clients.errors import ClientError, LocalFileError

USER = "BRAINMVP_DICOMWEB_USER"
PASSWORD = "BRAINMVP_DICOMWEB_PASSWORD"
TOKEN = "BRAINMVP_DICOMWEB_TOKEN"
API_KEY = "BRAINMVP_API_KEY"
PSEUDONYM_KEY = "BRAINMVP_PSEUDONYM_KEY"
KNOWN = (USER, PASSWORD, TOKEN, API_KEY, PSEUDONYM_KEY)


@dataclass(frozen=True, repr=False)
class Credentials:
    """Secrets for the server and a PACS; they are never printed."""

    user: str | None = None
    password: str | None = None
    token: str | None = None
    api_key: str | None = None
    pseudonym_key: str | None = None

    @classmethod
    def read(cls, path: Path | None, environment: Mapping[str, str] = os.environ) -> Credentials:
        """From the variables of the environment, or lines ``NAME=VALUE`` of a file, which win.

        Raises:
            LocalFileError: the file cannot be read, others may read it, or a line is no such line.
        """
        values = {name: environment[name] for name in KNOWN if environment.get(name)}
        values.update(_read(path) if path else {})
        return cls(
            values.get(USER),
            values.get(PASSWORD),
            values.get(TOKEN),
            values.get(API_KEY),
            values.get(PSEUDONYM_KEY),
        )


def without_credentials(url: str) -> str:
    """The address as it is, if it holds no password.

    Raises:
        ClientError: it does; arguments are seen by every user of the machine.
    """
    if "@" in urlsplit(url).netloc:
        raise ClientError(
            "the address holds credentials",
            remedy=f"Give them as {USER} and {PASSWORD}, or in a file with --credentials",
        )
    return url


def _read(path: Path) -> dict[str, str]:
    def unusable(problem: str, remedy: str) -> LocalFileError:
        return LocalFileError(problem, remedy=remedy, subject=str(path))

    try:
        if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise unusable("can be read by others", f"chmod 600 {path}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise unusable(f"cannot be read ({reason})", "Check the path") from None
    values = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or name.strip() not in KNOWN:
            raise unusable(f"line {number} sets no known name", f"Known: {', '.join(KNOWN)}")
        values[name.strip()] = value.strip()
    return values
