"""The OpenVINO engine: what breaks here lets one file stop everybody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines import load_engine


def test_a_graph_that_would_hold_the_lock_for_long_is_not_parsed(tmp_path: Path) -> None:
    graph = tmp_path / "model.xml"
    graph.write_bytes(b'<net name="x" version="11"><layers>' + b"<layer/>" * 600_000)
    with pytest.raises(EngineUnavailable, match=r"model\.xml has more than 4 MiB"):
        load_engine(graph, "openvino")
