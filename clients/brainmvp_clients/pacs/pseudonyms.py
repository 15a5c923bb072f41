"""Keyed pseudonyms: the same for the same person under the same key, and no way back without it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from brainmvp_clients.errors import ClientError

MIN_KEY = 16
"""Bytes; a shorter key can be guessed."""


@dataclass(frozen=True, repr=False)
class Pseudonyms:
    """Names, IDs and UIDs by HMAC-SHA-256."""

    key: bytes

    @classmethod
    def of(cls, key: str | None) -> Pseudonyms:
        """From the secret's text.

        Raises:
            ClientError: there is none, or it is too short.
        """
        if key is None or len(key.encode()) < MIN_KEY:
            raise ClientError(
                f"pseudonyms need a key of {MIN_KEY} characters or more",
                remedy="Set BRAINMVP_PSEUDONYM_KEY, or give it in a file with --credentials",
            )
        return cls(key.encode())

    def uid(self, uid: str) -> str:
        """A UID for a UID: ``2.25.`` and a number of 128 bits (PS3.5, section B.2)."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def name(self, text: str, kind: str = "name") -> str:
        """A short identifier for a name or an ID; ``kind`` keeps the two apart."""
        return "P" + base64.b32encode(self._digest(kind, text)[:10]).decode()

    @property
    def label(self) -> str:
        """Tells one key from another without telling it."""
        return self._digest("label", "").hex()[:16]

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.digest(self.key, f"{kind}\0{text}".encode(), hashlib.sha256)
