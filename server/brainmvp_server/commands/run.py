"""Run the service under uvicorn."""

from __future__ import annotations

import socket
from functools import partial

import uvicorn

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.api.app import create_app
from brainmvp_server.api.lifecycle import GracefulServer
from brainmvp_server.observability import logs
from brainmvp_server.observability.traces import tracing
from brainmvp_server.repository.model_repository import ModelRepository
from brainmvp_server.runtime.allocator import return_large_blocks
from brainmvp_server.runtime.http_timeouts import PromptProtocol
from brainmvp_server.settings import Settings


def run(settings: Settings) -> None:
    """Serve until interrupted; port 0 takes a free one and says which.

    Raises:
        BrainMVPError: the service cannot be set up.
    """
    return_large_blocks()
    logs.configure(settings.observability.log_format, settings.observability.log_level)
    if settings.observability.otlp_endpoint:
        tracing.begin(settings.observability.otlp_endpoint)
    if settings.dicom.dicom_fallback == "dcm2niix":
        from brainmvp_server.imaging.dicom.fallback import check_installed

        check_installed()
    app = create_app(settings)
    config = _config(app, settings)
    listener = _bound(settings.service.host, settings.service.port)
    lifecycle = app.state.lifecycle
    ready = partial(_announce, lifecycle.service.repository, listener, tls=config.is_ssl)
    try:
        GracefulServer(config, lifecycle, ready, tracing.end).run(sockets=[listener])
    finally:
        tracing.end()
        lifecycle.leave()


def _config(app: object, settings: Settings) -> uvicorn.Config:
    """uvicorn on h11, which bounds a request's head, with a bound on the wait for it.

    Raises:
        InvalidSettings: the certificate or its key cannot be used.
    """
    security = settings.security
    password = security.tls_key_password
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=partial(  # type: ignore[arg-type]
            PromptProtocol, head_s=settings.limits.head_s, answer_s=settings.limits.answer_s
        ),
        h11_max_incomplete_event_size=settings.limits.header_kb << 10,
        access_log=False,
        server_header=False,
        log_config=None,
        ssl_certfile=security.tls_cert,
        ssl_keyfile=security.tls_key,
        ssl_keyfile_password=password.get_secret_value() if password else None,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise InvalidSettings(
            f"the certificate cannot be used: {error.strerror or type(error).__name__}",
            remedy="Give --tls-cert and --tls-key, readable PEM files that belong together",
            subject=str(security.tls_cert),
        ) from None
    return config


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InvalidSettings: the address is taken, not ours or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise InvalidSettings(
            f"cannot be listened on: {error.strerror}",
            remedy="Choose another --host or --port",
            subject=f"{host}:{port}",
        ) from None
    listener.set_inheritable(True)
    return listener


def _announce(repository: ModelRepository, listener: socket.socket, *, tls: bool) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    for model in repository.models().models:
        print(f"serving {model.name} {model.version}: {model.title}", flush=True)
    for refused in repository.refused:
        print(f"refused {refused}", flush=True)
    print(f"listening on http{'s' if tls else ''}://{shown}:{port}", flush=True)
