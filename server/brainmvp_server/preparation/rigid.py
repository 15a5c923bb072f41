"""Rigid transforms between two worlds: a point of one, in millimetres of the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidVolume
from brainmvp_server.imaging.grid import Affine, carried

Points = NDArray[np.float64]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns R-A-S into the L-P-S of ITK and DICOM, and back."""
_ITK_HEAD = "#Insight Transform File V1.0"
_RIGID = 1e-3
"""How far a rotation's product with its transpose may be from one, and its determinant from 1."""


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """Takes a point of one world to another world, both in R-A-S millimetres.

    Attributes:
        matrix: (4, 4), a rotation and a shift.
    """

    matrix: Affine

    @classmethod
    def identity(cls) -> RigidTransform:
        """The transform that leaves every point where it is."""
        return cls(np.eye(4))

    @classmethod
    def of_rotation(cls, degrees: Points, shift: Points, centre: Points) -> RigidTransform:
        """A rotation about x, then y, then z through ``centre``, and a shift.

        Args:
            degrees: (3,) about R, A and S, right-handed.
            shift: (3,) mm, after the rotation.
            centre: (3,) mm, which the rotation leaves in place.
        """
        x, y, z = np.radians(degrees)
        turn = _about(2, z) @ _about(1, y) @ _about(0, x)
        matrix = np.eye(4)
        matrix[:3, :3] = turn
        matrix[:3, 3] = centre + shift - turn @ centre
        return cls(matrix)

    @classmethod
    def from_text(cls, text: str, subject: str = "") -> RigidTransform:
        """From four lines of four numbers, or an affine or Euler transform file of ITK.

        Raises:
            InvalidVolume: it is neither, or no rigid transform.
        """
        try:
            matrix = _from_itk(text) if text.startswith("#") else _from_lines(text)
        except (ValueError, IndexError, KeyError):
            raise InvalidVolume(
                "is no 4 × 4 matrix and no ITK transform file",
                remedy="Give four lines of four numbers, R-A-S millimetres, or ITK's text form",
                subject=subject,
            ) from None
        turn = matrix[:3, :3]
        if not np.allclose(turn @ turn.T, np.eye(3), atol=_RIGID) or np.linalg.det(turn) < 0:
            raise InvalidVolume(
                "its matrix scales, shears or mirrors",
                remedy="Give a rigid transform: a rotation and a shift",
                subject=subject,
            )
        return cls(matrix)

    @classmethod
    def from_lps(cls, matrix: Affine) -> RigidTransform:
        """From a (4, 4) matrix between worlds in L-P-S, as ITK and DICOM count."""
        return cls(_LPS @ matrix @ _LPS)

    @property
    def lps(self) -> Affine:
        """(4, 4), between the same worlds in L-P-S."""
        return np.asarray(_LPS @ self.matrix @ _LPS)

    @property
    def inverse(self) -> RigidTransform:
        """The way back."""
        turn, shift = self.matrix[:3, :3], self.matrix[:3, 3]
        matrix = np.eye(4)
        matrix[:3, :3] = turn.T
        matrix[:3, 3] = -turn.T @ shift
        return RigidTransform(matrix)

    @property
    def degrees(self) -> float:
        """The angle of its rotation, 0 to 180."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    def after(self, first: RigidTransform) -> RigidTransform:
        """``first``, then this one."""
        return RigidTransform(self.matrix @ first.matrix)

    def apply(self, points: Points) -> Points:
        """Points (..., 3) of the one world in the other."""
        return carried(points, self.matrix)

    def apart(self, other: RigidTransform, points: Points) -> float:
        """Mean distance in mm between where two transforms take the points (N, 3)."""
        between = self.apply(points) - other.apply(points)
        return float(np.linalg.norm(between, axis=-1).mean())

    def moved(self, points: Points) -> float:
        """Mean distance in mm that it moves the points (N, 3)."""
        return self.apart(RigidTransform.identity(), points)

    def to_text(self) -> str:
        """Four lines of four numbers, R-A-S."""
        return "".join(" ".join(f"{value:.9g}" for value in row) + "\n" for row in self.matrix)

    def to_itk(self) -> str:
        """ITK's text form, L-P-S: what ANTs, SimpleITK and 3D Slicer read.

        ITK's transforms, too, take a point of the grid that is filled to where it is looked up.
        """
        matrix = self.lps
        numbers = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
        return (
            f"{_ITK_HEAD}\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
            f"Parameters: {' '.join(f'{number:.17g}' for number in numbers)}\n"
            "FixedParameters: 0 0 0\n"
        )


def _about(axis: int, angle: float) -> Affine:
    """A right-handed rotation about one axis, (3, 3)."""
    one, other = [(1, 2), (2, 0), (0, 1)][axis]
    turn = np.eye(3)
    turn[one, one] = turn[other, other] = np.cos(angle)
    turn[other, one] = np.sin(angle)
    turn[one, other] = -np.sin(angle)
    return turn


def _from_lines(text: str) -> Affine:
    matrix = np.array([[float(word) for word in line.split()] for line in text.split("\n") if line])
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError
    return matrix


def _from_itk(text: str) -> Affine:
    """What an ITK transform file says: a matrix or Euler angles, about a centre."""
    fields = dict(line.split(": ", 1) for line in text.split("\n") if ": " in line)
    numbers = np.array([float(word) for word in fields["Parameters"].split()])
    centre = np.array([float(word) for word in fields["FixedParameters"].split()][:3])
    kind = fields["Transform"].split("_")[0]
    if kind in ("AffineTransform", "MatrixOffsetTransformBase"):
        turn, shift = numbers[:9].reshape(3, 3), numbers[9:12]
    elif kind == "Euler3DTransform":
        x, y, z = numbers[:3]
        turn, shift = _about(2, z) @ _about(0, x) @ _about(1, y), numbers[3:6]
    else:
        raise ValueError
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = shift + centre - turn @ centre
    return np.asarray(_LPS @ matrix @ _LPS)
