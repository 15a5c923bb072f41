"""One picture of a prepared study: the brain's outline over every series."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid, bounding_box
from brainmvp_server.imaging.study import Study
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.preparation.rigid import RigidTransform

_EDGE = 260
"""Pixels of a plane's longer edge."""
_GAP = 4
_OUTLINE = (255, 176, 0)
_PLANES = ((2, 0, 1), (1, 0, 2), (0, 1, 2))
"""Axial, coronal, sagittal: the axis across, the one to the right and the one up."""


def outlines_png(
    study: Study, series: Sequence[Volume], to_series: Mapping[Modality, RigidTransform]
) -> bytes:
    """A row a series: axial, coronal and sagittal through the brain, its outline in colour.

    Radiological convention: the patient's right is on the left. A series that was brought to the
    wrong place does not fill its outline. Only these planes are interpolated.

    Args:
        study: the prepared one; the brain is where it is not zero.
        series: as they came.
        to_series: takes a point of the study's world to that of each series.
    """
    grid = study.native.grid
    upright = grid.canonical()
    brain = grid.orientation.view(np.logical_or.reduce([one.stored > 0 for one in study.volumes]))
    box = bounding_box(brain)
    assert box is not None  # a study without a brain is refused
    middle = [(a + b) // 2 for a, b in zip(box.start, box.stop, strict=True)]
    rows = []
    for volume in series:
        values = volume.values(volume.stored)
        way = to_series[volume.modality]
        cuts = [_cut(values, volume.grid, upright, way, a, middle[a]) for a, _, _ in _PLANES]
        planes = list(_planes(cuts, brain, middle, upright.spacing))
        rows.append(_row(planes, volume.modality.value))
    return _png(rows)


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


def _planes(
    cuts: Sequence[NDArray[np.float32]],
    brain: NDArray[np.bool_],
    middle: list[int],
    spacing: tuple[float, float, float],
) -> Iterator[Image.Image]:
    inside = [np.take(brain, middle[across], axis=across) for across, _, _ in _PLANES]
    shown = np.concatenate([cut[mask] for cut, mask in zip(cuts, inside, strict=True)])
    low, high = np.percentile(shown, (1, 99.5))
    longest = max(n * edge for n, edge in zip(brain.shape, spacing, strict=True))
    for cut, mask, (_, right, up) in zip(cuts, inside, _PLANES, strict=True):
        picture = np.clip((cut - low) / max(float(high - low), 1e-6), 0, 1).T[::-1]
        outline = _edge_of(mask.T[::-1])
        if right == 0:
            picture, outline = picture[:, ::-1], outline[:, ::-1]
        colours = np.repeat((picture * 255).astype(np.uint8)[..., None], 3, axis=2)
        colours[outline] = _OUTLINE
        size = [round(_EDGE * brain.shape[axis] * spacing[axis] / longest) for axis in (right, up)]
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
