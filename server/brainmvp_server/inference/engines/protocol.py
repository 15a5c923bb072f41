"""The one seam between serving and runtimes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import EngineUnavailable


@dataclass(frozen=True)
class EngineInfo:
    """What runs the network."""

    name: str
    device: str
    precision: str


class Engine(Protocol):
    """A loaded network. One thread at a time may call :meth:`infer`."""

    @property
    def info(self) -> EngineInfo:
        """Name, device and arithmetic."""
        ...

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of windows (N, C, h, w, d): (N, O, h, w, d), or (N, O) of a classification.

        The result may be a view of the engine's own memory, valid until the next call.
        """
        ...

    def close(self) -> None:
        """Free the network's memory."""
        ...


ENGINES: dict[str, str] = {"openvino": "openvino", "onnxruntime": "onnxruntime"}
"""Engines by name with the module each needs, the preferred one first."""


def installed_engines() -> tuple[str, ...]:
    """The engines whose runtime can be imported here, the preferred one first."""
    return tuple(name for name, module in ENGINES.items() if find_spec(module) is not None)


def load_engine(network: Path, name: str | None = None) -> Engine:
    """Load an ONNX file in the engine of that name; without one, in the preferred engine.

    Raises:
        EngineUnavailable: unknown, not installed, or it refuses the network.
    """
    installed = installed_engines()
    if name is None and not installed:
        raise EngineUnavailable(
            "no engine is installed", remedy="Install one: pip install 'brainmvp[cpu]'"
        )
    chosen = name or installed[0]
    if chosen not in ENGINES:
        raise EngineUnavailable(
            f"there is no engine '{chosen}'", remedy=f"Choose one of: {', '.join(ENGINES)}"
        )
    if chosen not in installed:
        raise EngineUnavailable(
            f"the engine '{chosen}' is not installed",
            remedy="Install it: pip install 'brainmvp[cpu]'",
        )
    module: Any = import_module(f"{__package__}.{chosen}_engine")
    try:
        engine: Engine = module.load(network)
    except Exception as error:  # each runtime raises kinds of its own
        raise EngineUnavailable(
            f"the engine '{chosen}' cannot load the network ({type(error).__name__})",
            remedy="Export the bundle again, or choose another engine",
        ) from error
    return engine
