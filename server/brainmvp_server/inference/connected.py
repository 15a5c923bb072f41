"""The connected parts of a mask."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import bounding_box

Mask = NDArray[np.bool_]


def connected(mask: Mask, neighbours: Literal[6, 26] = 26) -> tuple[NDArray[Any], int]:
    """Each voxel's part, from 1 on (0 outside the mask), and how many parts there are.

    Args:
        mask: (i, j, k).
        neighbours: 26 where voxels that touch at a corner are of one part, 6 where only faces do.
    """
    if sorted(mask.shape)[1] == 1:
        # cc3d 4.1 counts too few parts of a line of voxels beforehand, and fails.
        labels, count = cc3d.connected_components(
            np.pad(mask, 1), connectivity=neighbours, return_N=True
        )
        return labels[1:-1, 1:-1, 1:-1], int(count)
    labels, count = cc3d.connected_components(mask, connectivity=neighbours, return_N=True)
    return labels, int(count)


def kept_parts(part: Mask, fewest: int, sure: Mask | None = None) -> Mask:
    """The connected parts (26 neighbours) of (i, j, k) that are large and sure enough.

    Args:
        fewest: voxels that a part has at least.
        sure: (i, j, k); a part holds one of these voxels. None where it need not.
    """
    kept = np.zeros_like(part)
    box = bounding_box(part)
    if box is not None:
        labels, count = connected(np.asfortranarray(part[box.slices]))
        chosen = np.bincount(labels.ravel(order="K"), minlength=count + 1) >= fewest
        if sure is not None:
            held = np.zeros(count + 1, dtype=bool)
            held[labels[sure[box.slices]]] = True
            chosen &= held
        chosen[0] = False
        kept[box.slices] = chosen[labels]
    return kept
