"""Run the service under uvicorn."""

from __future__ import annotations

import socket

import uvicorn

from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings
from brainmvp_server.shelf import Shelf


def run(settings: Settings) -> None:
    """Serve until interrupted; port 0 takes a free one and says which.

    Raises:
        BrainMVPError: the service cannot be set up.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.service.host,
        port=settings.service.port,
        access_log=False,
        server_header=False,
        log_level="warning",
    )
    listener = config.bind_socket()
    _announce(app.state.service.shelf, listener)
    uvicorn.Server(config).run(sockets=[listener])


def _announce(shelf: Shelf, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    for model in shelf.models().models:
        print(f"serving {model.name} {model.version}: {model.title}", flush=True)
    for refused in shelf.refused:
        print(f"refused {refused}", flush=True)
    print(f"listening on http://{shown}:{port}", flush=True)
