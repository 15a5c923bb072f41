"""Engines: the runtimes that turn windows into logits, behind one small protocol."""

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
