"""Masks of blocks: what of a window is hidden in pre-training."""

from __future__ import annotations

import torch
from torch import Tensor


def block_mask(
    edge: int, block: int, rate: float, generator: torch.Generator | None = None
) -> Tensor:
    """Where a window is hidden: (edge, edge, edge) booleans, true in ``rate`` of its blocks.

    ``floor((1 - rate) * blocks)`` blocks of ``block`` voxels an edge stay visible, at random.

    Raises:
        ValueError: ``edge`` is no multiple of ``block``.
    """
    if edge % block:
        raise ValueError(f"a window of {edge} does not divide into blocks of {block}")
    n = edge // block
    visible = int(n**3 * (1 - rate))
    hidden = torch.ones(n**3, dtype=torch.bool)
    hidden[torch.randperm(n**3, generator=generator)[:visible]] = False
    mask = hidden.reshape(n, n, n)
    for axis in range(3):
        mask = mask.repeat_interleave(block, dim=axis)
    return mask
