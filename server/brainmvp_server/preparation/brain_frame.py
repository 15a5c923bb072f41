"""Where the brain of a study lies, in whatever world it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid, carried
from brainmvp_server.imaging.study import Study
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.brain_surface import Brain
from brainmvp_server.preparation.brain import BrainMask
from brainmvp_server.preparation.rigid import RigidTransform

_NOWHERE = RigidTransform.identity()


@dataclass(frozen=True, eq=False)
class BrainFrame:
    """The brain in the reference's world, whatever series it was found in."""

    reference: Volume
    brain: BrainMask | None
    to_series: Mapping[Modality, RigidTransform]

    def points(self) -> NDArray[np.float64]:
        """(N, 3), some points of the brain and its outermost ones, mm."""
        voxels = np.argwhere(self._mask)
        some = voxels[:: max(len(voxels) // 20_000, 1)]
        ends = np.concatenate([some, voxels[voxels.argmin(axis=0)], voxels[voxels.argmax(axis=0)]])
        return self._way.inverse.apply(carried(ends, self._grid.affine))

    def mask_on(self, grid: Grid, to_reference: RigidTransform = _NOWHERE) -> NDArray[np.bool_]:
        """The brain (X, Y, Z) on another grid: where half a voxel or more of it is brain.

        Args:
            to_reference: takes a point of that grid's world to the reference's.
        """
        across = self._way.after(to_reference).matrix
        image, _ = interpolated(self._mask.astype(np.float32), self._grid, grid, across)
        return np.asarray(image >= 0.5)

    def brain_in(self, to_result: RigidTransform, to_worked: RigidTransform) -> Brain:
        """The brain in a result's world.

        Args:
            to_result: takes a point of the reference's world to the result's.
            to_worked: to the world that the study is worked on in, where left and right are known
                best: an atlas has no turned head.
        """
        across = to_result.after(self._way.inverse).matrix
        rightward = to_worked.after(to_result.inverse).matrix[0, :3]
        return Brain(self._mask, self._grid, across, rightward)

    @property
    def _mask(self) -> NDArray[np.bool_]:
        if self.brain is not None:
            return self.brain.mask
        return np.asarray(self.reference.stored != self.reference.stored.min())

    @property
    def _grid(self) -> Grid:
        return self.reference.grid if self.brain is None else self.brain.grid

    @property
    def _way(self) -> RigidTransform:
        """Takes a point of the reference's world to the world the mask lies in."""
        if self.brain is None or self.brain.world is None:
            return RigidTransform.identity()
        return self.to_series[self.brain.world]


def shown_brain(study: Study) -> Brain:
    """The brain of series without skulls, on the grid of the first: all but the background."""
    first = study.native
    mask = np.asarray(first.stored != first.stored[0, 0, 0])
    return Brain(mask, first.grid, np.eye(4), np.array([1.0, 0.0, 0.0]))
