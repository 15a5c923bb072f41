"""What a reader of a result should know about the files it was made from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.sources import Source

if TYPE_CHECKING:
    from brainmvp_server.imaging.dicom.series import Stack
    from brainmvp_server.imaging.intake import Intake

_COVERS_LESS = 2 / 3
_HEAD_MM = 160.0
"""What another volume shows beyond this is neck and air, and is not asked of anybody."""


def notes_of(
    sources: Mapping[Modality, Source],
    intake: Intake | None = None,
    wanted: Collection[Modality] = (),
) -> tuple[str, ...]:
    """Notes on the series that are used, and on the series and files that are not.

    Of each series: what of it is not in the volume and how it was put together; and whether its
    slices cover less of the head than another series does.
    """
    from brainmvp_server.imaging.dicom.series import Stack

    stacks = {m: source for m, source in sources.items() if isinstance(source, Stack)}
    notes = [f"{m}: series {one.label}: {note}" for m, one in stacks.items() for note in one.notes]
    notes += _short(stacks)
    if intake is not None and intake.unread:
        notes.append(f"damaged files, which were not read: {len(intake.unread)}")
    filled = [modality.value for modality in wanted if modality not in sources]
    unnamed = intake.dicom.unnamed if filled and intake is not None and intake.dicom else ()
    if unnamed:
        labels = ", ".join(one.label for one in unnamed)
        notes.append(
            f"series {labels}: not used, for nothing tells what they are; if one is "
            f"{' or '.join(filled)}, assign it: no template need take its place"
        )
    return tuple(notes)


def _short(stacks: Mapping[Modality, Stack]) -> list[str]:
    """The series that cover less than another one, along their own slices."""
    notes = []
    for modality, stack in stacks.items():
        own = _reach(stack.grid, stack.grid)
        others = {m: _reach(one.grid, stack.grid) for m, one in stacks.items() if m != modality}
        if not others:
            continue
        most = max(others, key=lambda m: others[m])
        if own < _COVERS_LESS * min(others[most], _HEAD_MM):
            notes.append(
                f"{modality}: series {stack.label}: its {len(stack.frames)} slices cover "
                f"{own:.0f} mm, {most} covers {others[most]:.0f} mm there: part of the series may "
                "be missing"
            )
    return notes


def _reach(grid: Grid, along: Grid) -> float:
    """How far a volume reaches along another one's slices, mm."""
    normal = along.affine[:3, 2] / np.linalg.norm(along.affine[:3, 2])
    ends = np.array(list(product(*((-0.5, size - 0.5) for size in grid.shape))))
    places = (ends @ grid.affine[:3, :3].T) @ normal
    return float(places.max() - places.min())
