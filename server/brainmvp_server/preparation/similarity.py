"""How well two images match under a transform: normalised mutual information (Studholme 1999).

The histogram is filled linearly, so that the measure is smooth enough to be climbed.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import WorkingImage

Points = NDArray[np.float64]

_BINS = 32
_SEED = 1


class Similarity(Protocol):
    """What an optimiser climbs.

    Attributes:
        centre: (3,), the point of the reference's world that is turned about.
    """

    centre: Points

    def score(self, transform: RigidTransform) -> float:
        """The measure, larger where the images match better."""
        ...


class OneWay:
    """Some voxels of the reference, looked up in the moving image; the same ones every time."""

    def __init__(self, reference: WorkingImage, moving: WorkingImage, voxels: int) -> None:
        chosen = np.random.default_rng(_SEED).permutation(reference.voxels.size)[:voxels]
        self.centre = reference.centre_of_mass
        self.points: Points = reference.points(chosen)
        self.values = reference.voxels.ravel()[chosen]
        self._moving = moving
        self._row = np.rint(self.values * (_BINS - 1)).astype(np.int64) * _BINS

    def score(self, transform: RigidTransform) -> float:
        """Normalised mutual information, 1 to 2."""
        values = self._moving.looked_up(transform, self.points) * np.float32(_BINS - 1)
        lower = values.astype(np.int64)
        share = values - lower
        at = self._row + lower
        size = _BINS * _BINS + 1
        lower_bin, upper_bin = np.bincount(at, 1 - share, size), np.bincount(at + 1, share, size)
        joint = np.asarray(lower_bin + upper_bin, np.float64)
        return _normalised(joint[:-1].reshape(_BINS, _BINS))


class BothWays:
    """The mean of either image looked up in the other: nearer to the truth for thick slices."""

    def __init__(self, reference: WorkingImage, moving: WorkingImage, voxels: int) -> None:
        self.forth = OneWay(reference, moving, voxels)
        self._back = OneWay(moving, reference, voxels)
        self.centre = self.forth.centre

    def score(self, transform: RigidTransform) -> float:
        """Normalised mutual information, 1 to 2."""
        return (self.forth.score(transform) + self._back.score(transform.inverse)) / 2


def _normalised(joint: NDArray[np.float64]) -> float:
    shares = joint / joint.sum()
    together = _entropy(shares)
    if together == 0:
        return 1.0
    return (_entropy(shares.sum(axis=0)) + _entropy(shares.sum(axis=1))) / together


def _entropy(shares: NDArray[np.float64]) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())
