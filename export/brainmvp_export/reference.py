"""What the checkpoint itself says, in PyTorch: everything else is held against it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float32]


def logits_of(network: nn.Module, windows: Array) -> Array:
    """The network's logits (N, O, h, w, d) or (N, O), one window at a time."""
    with torch.inference_mode():
        parts = [network(torch.from_numpy(window[np.newaxis])) for window in windows]
    return torch.cat(parts).numpy()
