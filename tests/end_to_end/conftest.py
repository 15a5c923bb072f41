"""What end-to-end tests start: a real server with the tiny bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brainmvp_models.bundle import Bundle
from serving import serving


@pytest.fixture(scope="module")
def tiny_server(coarse_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that has the tiny bundle."""
    folder: Path = tmp_path_factory.mktemp("server")
    with serving(coarse_bundle.root.parents[1], folder) as url:
        yield url
