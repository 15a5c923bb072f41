"""The application: settings in, ASGI app out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from brainmvp_models import __version__
from brainmvp_models.errors import InvalidBundle
from brainmvp_server.api import problems
from brainmvp_server.api.routes import build_router
from brainmvp_server.settings import Settings
from brainmvp_server.shelf import Shelf


def create_app(settings: Settings) -> FastAPI:
    """Build the service over the bundles in ``settings.service.models``.

    Raises:
        InvalidBundle: there is no such folder. Broken bundles in it are refused by name and listed
            by ``GET /v1/models``; the others are served.
    """
    if not settings.service.models.is_dir():
        raise InvalidBundle(
            "no such folder",
            remedy="Give the folder that holds the bundles with --models",
            subject=str(settings.service.models),
        )
    shelf = Shelf.of(settings.service.models, settings.worker.engine)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        shelf.close()

    app = FastAPI(
        title="BrainMVP Server",
        version=__version__,
        summary="Brain-MRI segmentation and classification from any subset of modalities.",
        lifespan=life,
    )
    app.state.shelf = shelf
    app.include_router(build_router(settings, shelf))
    problems.install(app)
    return app
