"""Engines: the runtimes that turn windows into logits, behind one small protocol."""

import sys

from brainmvp_server.inference.engines.protocol import (
    ENGINES,
    Engine,
    EngineInfo,
    EngineOptions,
    Stoppable,
    check_engine,
    check_precision,
    installed_engines,
    load_engine,
)

# OpenVINO's tools tell Intel over the network that they are used, from a process that they fork
# off this one. Nothing here speaks to anybody unasked: without that package they are silent.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "EngineOptions",
    "Stoppable",
    "check_engine",
    "check_precision",
    "installed_engines",
    "load_engine",
]
