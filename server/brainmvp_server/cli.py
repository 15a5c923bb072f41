"""``brainmvp serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmvp_models.errors import BrainMVPError


def serve(
    models: Annotated[
        Path, typer.Option(help="Folder that holds the bundles.", envvar="BRAINMVP_MODELS")
    ],
    host: Annotated[str, typer.Option(envvar="BRAINMVP_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="BRAINMVP_PORT", help="0 takes a free one.")] = 8000,
    engine: Annotated[
        str | None, typer.Option(envvar="BRAINMVP_ENGINE", help="openvino or onnxruntime.")
    ] = None,
    upload_mb: Annotated[
        int, typer.Option(envvar="BRAINMVP_UPLOAD_MB", min=1, help="Largest request.")
    ] = 2048,
    volume_mvoxels: Annotated[
        int, typer.Option(envvar="BRAINMVP_VOLUME_MVOXELS", min=1, help="Largest volume.")
    ] = 135,
    studies: Annotated[
        int, typer.Option(envvar="BRAINMVP_STUDIES", min=1, help="Studies worked on at once.")
    ] = 2,
    scratch: Annotated[
        Path | None, typer.Option(envvar="BRAINMVP_SCRATCH", help="Where uploads lie meanwhile.")
    ] = None,
) -> None:
    """Serve the bundles of a folder over HTTP."""
    from brainmvp_server.run import run
    from brainmvp_server.settings import Settings, limits_of

    settings = Settings(
        models=models,
        engine=engine,
        upload_bytes=upload_mb << 20,
        limits=limits_of(volume_mvoxels),
        studies=studies,
        scratch=scratch,
    )
    try:
        run(settings, host, port)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
