"""What was measured of a study's structures and parts: a line each of ``measurements.csv``."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from brainmvp_clients.answers import Part, Structure, Summary

HEADS = (
    *("structure", "part", "voxels", "volume_ml", "plane", "diameter_mm", "across_mm"),
    *("product_mm2", "diameter_3d_mm", "centroid_r_mm", "centroid_a_mm", "centroid_s_mm"),
    *("side", "to_surface_mm"),
)


class Measured(BaseModel):
    """One structure, or one of its parts; ``part`` is None for the whole."""

    model_config = ConfigDict(frozen=True)

    structure: str
    part: int | None = None
    voxels: int
    volume_ml: float
    plane: str | None = None
    diameter_mm: float | None = None
    across_mm: float | None = None
    product_mm2: float | None = None
    diameter_3d_mm: float | None = None
    centroid_r_mm: float | None = None
    centroid_a_mm: float | None = None
    centroid_s_mm: float | None = None
    side: str | None = None
    to_surface_mm: float | None = None

    @classmethod
    def of(cls, structure: str, measured: Structure | Part) -> Measured:
        """As the server measured it."""
        size, centroid = measured.size, measured.centroid_mm or (None, None, None)
        return cls(
            structure=structure,
            part=measured.number if isinstance(measured, Part) else None,
            voxels=measured.voxels,
            volume_ml=measured.volume_ml,
            plane=size.plane if size else None,
            diameter_mm=size.diameter_mm if size else None,
            across_mm=size.across_mm if size else None,
            product_mm2=size.product_mm2 if size else None,
            diameter_3d_mm=size.diameter_3d_mm if size else None,
            centroid_r_mm=centroid[0],
            centroid_a_mm=centroid[1],
            centroid_s_mm=centroid[2],
            side=measured.side,
            to_surface_mm=measured.to_surface_mm,
        )

    def cells(self) -> list[object]:
        """In the order of :data:`HEADS`; an empty cell where nothing is known."""
        values = (getattr(self, head) for head in HEADS)
        return ["" if value is None else value for value in values]


def measured_in(summary: Summary) -> tuple[Measured, ...]:
    """Every structure, each followed by its parts; none where the server measures no parts."""
    if not any(structure.parts for structure in summary.structures):
        return ()
    found: list[Measured] = []
    for structure in summary.structures:
        found.append(Measured.of(structure.name, structure))
        found += [Measured.of(structure.name, part) for part in structure.parts]
    return tuple(found)


def write_measurements(
    file: TextIO, studies: Iterable[tuple[tuple[str, str], tuple[Measured, ...]]]
) -> None:
    """Write the table: for each study its name and token, as cells, and what was measured."""
    writer = csv.writer(file)
    writer.writerow(("study", "token", *HEADS))
    for names, measured in studies:
        writer.writerows([*names, *one.cells()] for one in measured)
