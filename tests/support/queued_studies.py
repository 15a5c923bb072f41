"""Studies for the queue of windows, without voxels and without an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from brainmvp_models.task import Window
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.network_cache import Network
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.windows import Blend, WindowPlan

EDGE = 16
WINDOW = Window(size=(EDGE, EDGE, EDGE), overlap=0.5)


@dataclass(eq=False)
class _Timed:
    usual_s: float


def network(usual_s: float = 0.0) -> Network:
    """A network that is asked only what its last batch took."""
    return cast(Network, _Timed(usual_s))


NETWORK = network()


def queued(windows: int, of: Network = NETWORK, *, interactive: bool = True) -> StudyRun:
    """A study of so many windows."""
    plan = WindowPlan.of((EDGE + (windows - 1) * EDGE // 2, EDGE, EDGE), WINDOW)
    assert len(plan) == windows
    voxels = np.zeros((1, *plan.padded), np.float32)
    return StudyRun(of, plan, voxels, Blend(plan, 1), CancelToken(), interactive)
