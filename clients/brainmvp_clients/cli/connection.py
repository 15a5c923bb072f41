"""A client of the server that a command names."""

from __future__ import annotations

from brainmvp_clients.client import Client
from brainmvp_clients.pacs.credentials import Credentials


def connected(server: str) -> Client:
    """A client that shows the key in ``BRAINMVP_API_KEY``, if there is one."""
    key = Credentials.read(None).api_key
    return Client(server, headers={"Authorization": f"Bearer {key}"} if key else None)
