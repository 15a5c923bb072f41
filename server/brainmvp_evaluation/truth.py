"""What a study should have given: masks and classes of a case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.task import RegionOutputs, SegmentationOutputs
from brainmvp_server.imaging.grid import Grid

Mask = NDArray[np.bool_]


def read_truth(path: Path, outputs: SegmentationOutputs, grid: Grid) -> tuple[Mask, ...]:
    """Each region's, or each class's but the background's, mask in the R, A, S view of ``grid``.

    The file may store its axes in another order than the images do.

    Raises:
        InvalidDatalist: the mask has other voxels than the images.
    """
    image: Any = nib.load(path)
    labels = np.asanyarray(image.dataobj)
    labels = labels.reshape(labels.shape[:3])
    affine = np.asarray(image.affine, dtype=np.float64)
    x, y, z = labels.shape
    turned = Grid((x, y, z), affine).orientation.view(labels)
    if turned.shape != grid.canonical().shape:
        raise InvalidDatalist(
            "the mask does not lie on the grid of the images",
            remedy="Resample it by nearest neighbour",
        )
    if isinstance(outputs, RegionOutputs):
        return tuple(_member(turned, region.labels) for region in outputs.regions)
    return tuple(turned == entry.value for entry in outputs.classes[1:])


def _member(labels: NDArray[Any], values: tuple[int, ...]) -> Mask:
    member: Mask = labels == values[0]
    for value in values[1:]:
        member |= labels == value
    return member
