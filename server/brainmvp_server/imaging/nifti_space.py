"""Where a NIfTI header says that its voxels lie: its sform, its qform and their units.

The rules are those of ``nifti1.h`` and of niftilib, its reference reader: ``qfac`` is -1 where
``pixdim[0]`` is negative and 1 otherwise, 0 included; a voxel's size is ``abs(pixdim)``; a
quaternion that rounding made longer than 1 is a half turn. A mask carries what was read this way,
so that readers which are stricter than the standard can open it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError

from brainmvp_models.errors import InvalidVolume, VolumeTooLarge
from brainmvp_server.imaging.grid import Affine, Grid, Shape
from brainmvp_server.imaging.volume import SpatialHeader

Form = Literal["sform", "qform"]
"""Which of a header's two forms places its voxels, where it has both."""

SPATIAL = (
    "pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
"""The fields of a header that place its voxels."""

_UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
"""By the lowest three bits of ``xyzt_units``: metres, millimetres, micrometres; others are mm."""
_SPATIAL_UNITS = 7
_EDGES_MM = (0.05, 40.0)
"""Edges of voxels that a scan of a head can have."""
_WIDEST_MM = 1000.0
"""Widest field of view that a scan of a head can have."""
_LONGEST_QUATERNION = 1.01
_MAX_SKEW_DEGREES = 1.0
_FLAT = 1e-6
"""Determinant of three unit vectors that lie in one plane, but for rounding."""
_APART = 0.5
"""Forms agree when no corner is further off than this share of the smallest voxel edge."""


class Unusable(Exception):
    """What is wrong with a file, before its modality is known to the one who says so."""

    def __init__(
        self, problem: str, remedy: str, kind: type[InvalidVolume | VolumeTooLarge] = InvalidVolume
    ) -> None:
        super().__init__(problem)
        self.problem, self.remedy, self.kind = problem, remedy, kind


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a file's voxels lie.

    Attributes:
        grid: in millimetres, by the form that was chosen.
        header: both forms, for the masks of the file.
        warnings: what a reader should know about them.
    """

    grid: Grid
    header: SpatialHeader
    warnings: tuple[str, ...]


def placement(header: Nifti1Header, shape: Shape, form: Form = "sform") -> Placement:
    """Where a header of NIfTI-1 or -2 places (i, j, k) voxels.

    Args:
        form: which form is used where both are there; else it is the one that is.

    Raises:
        Unusable: no form gives the voxels a place, their axes are skewed, or no head is so small
            or so large.
    """
    header = _mended(header)
    forms = _forms(header)
    usable = {name: affine for name, affine in forms.items() if _is_regular(affine)}
    if not forms:
        affine = _millimetres(header.get_base_affine(), header)
        warnings = ["the header gives no orientation; left and right are assumed, not known"]
    else:
        used, warnings = _chosen(list(forms), list(usable), form)
        affine = forms[used]
        warnings += _disagreement(usable, used, shape)
    if "sform" in forms and "sform" not in usable:
        header["sform_code"] = 0  # or a mask's reader would prefer it
    grid = Grid(shape, affine)
    _check_grid(grid)
    fields = {name: np.copy(header[name]) for name in SPATIAL}
    return Placement(grid, SpatialHeader(fields), tuple(warnings))


def _chosen(claimed: list[Form], usable: list[Form], form: Form) -> tuple[Form, list[str]]:
    """The form that is used, of those that a header claims and that give voxels a place."""
    first = form if form in claimed else claimed[0]
    if first in usable or not usable:
        return first, []
    return usable[0], [f"its {first} gives voxels no place; its {usable[0]} is used"]


def _mended(header: Nifti1Header) -> Nifti1Header:
    """A copy that says the same to a strict reader as the original to one by the standard."""
    mended = header.copy()
    pixdim = mended["pixdim"]
    if pixdim[0] not in (-1, 1):
        pixdim[0] = -1 if pixdim[0] < 0 else 1
    pixdim[1:4] = np.abs(pixdim[1:4])
    names = ("quatern_b", "quatern_c", "quatern_d")
    length = float(np.linalg.norm([float(mended[name]) for name in names]))
    if length**2 > 1 + abs(float(mended.quaternion_threshold)) and length <= _LONGEST_QUATERNION:
        for name in names:
            mended[name] = float(mended[name]) / length
    return mended


def _forms(header: Nifti1Header) -> dict[Form, Affine]:
    """The affines that a header claims, in millimetres; NaN where one cannot be made out."""
    forms: dict[Form, Affine] = {}
    if int(header["sform_code"]):
        forms["sform"] = _millimetres(header.get_sform(), header)
    if int(header["qform_code"]):
        try:
            qform: Any = header.get_qform()
        except (HeaderDataError, ValueError):
            qform = np.full((4, 4), np.nan)
        forms["qform"] = _millimetres(qform, header)
    return forms


def _millimetres(affine: Any, header: Nifti1Header) -> Affine:
    metric = np.array(affine, dtype=np.float64)
    unit = _UNIT_MM.get(int(header["xyzt_units"]) & _SPATIAL_UNITS, 1.0)
    if unit != 1.0:
        metric[:3] *= unit
    return metric


def _is_regular(affine: Affine) -> bool:
    """Whether three axes of a length of their own span space."""
    if not np.isfinite(affine).all():
        return False
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((edges > 0).all()) and abs(np.linalg.det(affine[:3, :3] / edges)) > _FLAT


def _disagreement(usable: dict[Form, Affine], used: Form, shape: Shape) -> list[str]:
    if len(usable) < 2:
        return []
    other: Form = "qform" if used == "sform" else "sform"
    here, there = Grid(shape, usable[used]), Grid(shape, usable[other])
    apart = here.distance(there)
    if apart <= _APART * min(here.spacing):
        return []
    return [
        f"its sform and its qform lie up to {apart:.1f} mm apart; the {used} is used "
        f"(form={other} takes the other)"
    ]


def _check_grid(grid: Grid) -> None:
    if not _is_regular(grid.affine):
        raise Unusable(
            "its affine is singular: voxels have no place in space", "Repair its sform or qform"
        )
    least, most = _EDGES_MM
    remedy = "Correct the spacing or the units (xyzt_units) in its header"
    if not least <= min(grid.spacing) <= max(grid.spacing) <= most:
        edges = " × ".join(f"{edge:.3g}" for edge in grid.spacing)
        raise Unusable(f"its voxels are said to measure {edges} mm: no scan of a head", remedy)
    widest = max(edge * n for edge, n in zip(grid.spacing, grid.shape, strict=True))
    if widest > _WIDEST_MM:
        raise Unusable(
            f"its field of view is said to be {widest:.0f} mm wide: no scan of a head", remedy
        )
    if grid.skew_degrees > _MAX_SKEW_DEGREES:
        raise Unusable(
            f"its axes are {grid.skew_degrees:.1f} degrees from right angles",
            "Resample it to a rectangular grid",
        )
