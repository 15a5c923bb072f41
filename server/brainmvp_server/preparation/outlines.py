"""One picture of a prepared study: the brain's outline over every series, and the atlas's."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid, bounding_box
from brainmvp_server.imaging.study import Study
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.atlas import Atlas
from brainmvp_server.preparation.rigid import RigidTransform

_EDGE = 260
"""Pixels of a plane's longer edge."""
_GAP = 4
_OUTLINE = (255, 176, 0)
_ATLAS = (64, 160, 255)
_PLANES = ((2, 0, 1), (1, 0, 2), (0, 1, 2))
"""Axial, coronal, sagittal: the axis across, the one to the right and the one up."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """What the picture is drawn from, once it is asked for: not the prepared volumes.

    Attributes:
        grid: the prepared study's, upright.
        middle: of the brain, on that grid.
        brain: where it is, in each of the planes through its middle.
        series: as they came.
        to_series: takes a point of the prepared study's world to that of each series.
        atlas: what the study was brought to; None where it stayed in its own space.
    """

    grid: Grid
    middle: tuple[int, ...]
    brain: tuple[NDArray[np.bool_], ...]
    series: tuple[Volume, ...]
    to_series: Mapping[Modality, RigidTransform]
    atlas: Atlas | None = None

    @classmethod
    def of(
        cls,
        study: Study,
        series: Sequence[Volume],
        to_series: Mapping[Modality, RigidTransform],
        atlas: Atlas | None = None,
    ) -> Outlines:
        """Of a prepared study, whose brain is where it is not zero."""
        grid = study.native.grid
        brain = grid.orientation.view(
            np.logical_or.reduce([one.stored > 0 for one in study.volumes])
        )
        box = bounding_box(brain)
        assert box is not None  # a study without a brain is refused
        middle = tuple((a + b) // 2 for a, b in zip(box.start, box.stop, strict=True))
        planes = tuple(np.take(brain, middle[axis], axis=axis) for axis, _, _ in _PLANES)
        return cls(grid.canonical(), middle, planes, tuple(series), to_series, atlas)

    def png(self) -> bytes:
        """A row a series: axial, coronal and sagittal through the brain, its outline in orange.

        Radiological convention: the patient's right is on the left. A series that was brought to
        the wrong place does not fill its outline. The outline of the atlas's brain, where there is
        one, is blue. Only these planes are interpolated, and once.
        """
        return self._png

    @cached_property
    def _png(self) -> bytes:
        rows, drawn = [], [(self.brain, _OUTLINE)]
        if self.atlas is not None:
            brain = self.atlas.brain
            there = (brain.values(brain.stored) > 0).astype(np.float32)
            cuts = self._cuts(there, brain.grid, self.atlas.to_brain)
            drawn.insert(0, (tuple(cut > 0.5 for cut in cuts), _ATLAS))
        for volume in self.series:
            values, way = volume.values(volume.stored), self.to_series[volume.modality]
            cuts = self._cuts(values, volume.grid, way)
            planes = _planes(cuts, _window(cuts, self.brain), drawn, self.grid)
            rows.append(_row(list(planes), volume.modality.value))
        return _png(rows)

    def _cuts(
        self, values: NDArray[np.float32], old: Grid, way: RigidTransform
    ) -> list[NDArray[np.float32]]:
        """A volume on each of the planes."""
        return [
            _cut(values, old, self.grid, way, axis, self.middle[axis]) for axis, _, _ in _PLANES
        ]


def _cut(
    values: NDArray[np.float32], old: Grid, grid: Grid, way: RigidTransform, across: int, index: int
) -> NDArray[np.float32]:
    """A series on one plane of a grid, whose axis ``across`` is left out."""
    start, shape = np.eye(4), list(grid.shape)
    start[across, 3], shape[across] = index, 1
    plane = Grid((shape[0], shape[1], shape[2]), grid.affine @ start)
    cut: NDArray[np.float32] = np.take(
        interpolated(values, old, plane, way.matrix)[0], 0, axis=across
    )
    return cut


def _window(
    cuts: Sequence[NDArray[np.float32]], brain: Sequence[NDArray[np.bool_]]
) -> tuple[float, float]:
    """The values that are black and white, so that the brain is well seen."""
    shown = np.concatenate([cut[mask] for cut, mask in zip(cuts, brain, strict=True)])
    low, high = np.percentile(shown, (1, 99.5))
    return float(low), float(high)


def _planes(
    cuts: Sequence[NDArray[np.float32]],
    window: tuple[float, float],
    drawn: Sequence[tuple[Sequence[NDArray[np.bool_]], tuple[int, int, int]]],
    grid: Grid,
) -> Iterator[Image.Image]:
    """The planes of a series as pictures, with outlines in their colours, the last one on top."""
    low, high = window
    widths = [n * edge for n, edge in zip(grid.shape, grid.spacing, strict=True)]
    for place, (cut, (_, right, up)) in enumerate(zip(cuts, _PLANES, strict=True)):
        picture = np.clip((cut - low) / max(high - low, 1e-6), 0, 1)
        colours = np.repeat((picture * 255).astype(np.uint8)[..., None], 3, axis=2)
        for masks, colour in drawn:
            colours[_edge_of(masks[place])] = colour
        colours = colours.transpose(1, 0, 2)[::-1]
        if right == 0:
            colours = colours[:, ::-1]
        size = [round(_EDGE * widths[axis] / max(widths)) for axis in (right, up)]
        yield Image.fromarray(colours).resize((size[0], size[1]), Image.Resampling.NEAREST)


def _edge_of(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a plane of the brain that have a neighbour outside."""
    padded = np.pad(plane, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return plane & ~inner


def _row(planes: list[Image.Image], name: str) -> Image.Image:
    width = sum(plane.width + _GAP for plane in planes)
    row = Image.new("RGB", (width, max(plane.height for plane in planes) + _GAP))
    left = 0
    for plane in planes:
        row.paste(plane, (left, 0))
        left += plane.width + _GAP
    ImageDraw.Draw(row).text((6, 4), name, fill=(255, 255, 255))
    return row


def _png(rows: list[Image.Image]) -> bytes:
    whole = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)))
    top = 0
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height
    out = io.BytesIO()
    whole.save(out, "PNG", optimize=True)
    return out.getvalue()
