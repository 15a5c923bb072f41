"""What others may build on: these seven names, and what they give and take.

``Predictor`` loads a bundle and predicts in this process; ``Client`` and ``AsyncClient`` ask a
server. ``docs/library.md`` says what may change and how a name goes. A name is imported when it is
first used: ``import brainmvp`` alone loads neither numpy nor httpx, and nothing here loads torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brainmvp_clients import AsyncClient, Client
    from brainmvp_models.bundle import Bundle
    from brainmvp_models.errors import BrainMVPError
    from brainmvp_models.task import load_task
    from brainmvp_server.inference.result import Result
    from brainmvp_server.preparation.predictor import Predictor

__all__ = ["AsyncClient", "BrainMVPError", "Bundle", "Client", "Predictor", "Result", "load_task"]

_HOMES = {
    "AsyncClient": "brainmvp_clients",
    "BrainMVPError": "brainmvp_models.errors",
    "Bundle": "brainmvp_models.bundle",
    "Client": "brainmvp_clients",
    "Predictor": "brainmvp_server.preparation.predictor",
    "Result": "brainmvp_server.inference.result",
    "load_task": "brainmvp_models.task",
}


def __getattr__(name: str) -> object:
    """The public name, imported now.

    Raises:
        AttributeError: there is no such name.
        ImportError: what it needs is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'brainmvp' has no attribute '{name}'")
    try:
        found: object = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"brainmvp.{name} needs {error.name}: pip install 'brainmvp[server,cpu]'",
            name=error.name,
        ) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
