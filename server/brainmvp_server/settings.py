"""How a service is set up: one frozen model, filled by the command line and the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brainmvp_server.imaging.nifti import Limits


@dataclass(frozen=True)
class Settings:
    """Settings of one service.

    Attributes:
        models: the folder that holds the bundles.
        engine: an engine by name; by default the preferred one that is installed.
        upload_bytes: largest request body.
        upload_parts: most parts a request may have.
        limits: how large one volume may be.
        studies: how many studies may be worked on at once; they take turns at the engine.
        scratch: where uploads lie while their request lasts; by default the temporary folder.
    """

    models: Path
    engine: str | None = None
    upload_bytes: int = 2 << 30
    upload_parts: int = 16
    limits: Limits = Limits()
    studies: int = 2
    scratch: Path | None = None


def limits_of(megavoxels: int) -> Limits:
    """Limits that allow volumes of so many million voxels."""
    return Limits(voxels=megavoxels * 1_000_000)
