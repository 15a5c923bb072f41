"""Write a network as a ``torch.export`` program: image (N, C, h, w, d) in, logits out, N free."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from brainmvp_models.task import Window


def write_program(network: nn.Module, channels: int, window: Window, path: Path) -> None:
    """Export ``network``. What reads the program may have another version of PyTorch.

    Args:
        network: in evaluation mode, image (N, C, h, w, d) float32 in, logits float32 out.
        window: the spatial size is fixed to it; the batch axis stays free.
    """
    example = torch.rand(2, channels, *window.size)
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
        program.example_inputs = None  # else it is kept in the file, larger than a tiny network
        torch.export.save(program, path)
