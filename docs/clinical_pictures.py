"""Make the pictures of docs/clinical.md anew, of a real patient's raw series.

    python docs/clinical_pictures.py --shared ../shared

The patient is fg6692 of TCGA-LGG (The Cancer Imaging Archive, CC BY 3.0), read from
``SHARED/clinical/fg6692/raw``. What is written are rendered planes: no voxels, no headers.
``make pictures`` runs it too. Takes half a minute.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import brainmvp
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import Preprocessing
from brainmvp_server.commands.preparer import preparer
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid, carried
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.result import Result
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.stage import PreparedStudy
from brainmvp_server.results.planes import Planes, structure_colours

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
SHARED = ROOT.parent / "shared"
PATIENT = Path("clinical", "fg6692", "raw")
SERIES = (Modality.T1C, Modality.T1, Modality.T2, Modality.FLAIR)
TITLES = dict(zip(SERIES, ("T1c", "T1", "T2", "FLAIR"), strict=True))
LARGEST = 150_000
"""Bytes of a picture."""
_GREYS = 40
_GAP, _TOP = 6, 24
_INK, _PAPER = "#f2f2f2", "#141414"
_OUTLINE = (255, 176, 0)
_MM = 0.9
"""Edge of a pixel."""
_FIELD_MM = 210.0, 178.0
"""How much is shown from back to front and from bottom to top."""

Floats = NDArray[np.float32]
Inside = NDArray[np.bool_]


def sagittal(point: NDArray[np.float64]) -> Grid:
    """A plane of the reference's world through a point, R-A-S mm: one voxel from side to side."""
    shape = 1, *(round(edge / _MM) for edge in _FIELD_MM)
    affine = np.diag([_MM, _MM, _MM, 1.0])
    affine[:3, 3] = point - _MM * (np.array(shape) - 1) / 2
    return Grid((shape[0], shape[1], shape[2]), affine)


def cut(values: Floats, grid: Grid, plane: Grid, way: RigidTransform) -> Floats:
    """A volume on a plane: rows from the top, the front on the right.

    Args:
        way: takes a point of the reference's world to the volume's.
    """
    across: Floats = interpolated(values, grid, plane, way.matrix)[0][0]
    return across.T[::-1]


def tile(grey: Floats, window: tuple[float, float], brain: Inside) -> Image.Image:
    """A plane of a series in grey, with the brain's outline."""
    low, high = window
    shade = np.clip((grey - low) / (high - low), 0, 1) * 255
    colours = np.repeat(shade.astype(np.uint8)[..., None], 3, axis=2)
    padded = np.pad(brain, 1)
    deep = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    colours[brain & ~deep] = _OUTLINE
    return Image.fromarray(colours)


def window_of(grey: Floats, brain: Inside) -> tuple[float, float]:
    """The values that are black and white, so that the brain is well seen."""
    low, high = np.percentile(grey[brain], (0.5, 99.7))
    return float(low), float(high)


@dataclass(frozen=True)
class Row:
    """A line of tiles, and what stands above it."""

    title: str
    tiles: tuple[Image.Image, ...]


def sheet(rows: Sequence[Row], names: Sequence[str]) -> Image.Image:
    """Rows below each other; ``names`` stand in the tiles of the first."""
    width = max(sum(t.width for t in row.tiles) + _GAP * (len(row.tiles) + 1) for row in rows)
    height = sum(_TOP + max(t.height for t in row.tiles) + _GAP for row in rows)
    page = Image.new("RGB", (width, height), _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    top = 0
    for row in rows:
        draw.text((_GAP, top + 3), row.title, _INK, font)
        left, top = _GAP, top + _TOP
        for one, name in zip(row.tiles, names, strict=True):
            page.paste(one, (left, top))
            draw.text((left + 5, top + 3), name, _INK, font)
            left += one.width + _GAP
        top += max(t.height for t in row.tiles) + _GAP
    return page


def drawn(prepared: PreparedStudy, plane: Grid) -> tuple[Row, Row]:
    """Every series with the brain's outline, where its header puts it and where it was brought."""
    brain = _inside(prepared, plane)
    lay, brought = [], []
    for volume in in_order(prepared):
        values, way = volume.values(volume.stored), prepared.to_series[volume.modality]
        before = cut(values, volume.grid, plane, RigidTransform.identity())
        after = cut(values, volume.grid, plane, way)
        window = window_of(after, brain)
        lay.append(tile(before, window, brain))
        brought.append(tile(after, window, brain))
    return (
        Row("As their headers say", tuple(lay)),
        Row("After preparation; orange: the brain", tuple(brought)),
    )


def _inside(prepared: PreparedStudy, plane: Grid) -> Inside:
    """The brain on a plane."""
    brain = prepared.brain
    assert brain is not None and brain.world is not None
    way = prepared.to_series[brain.world]
    inside: Inside = cut(brain.mask.astype(np.float32), brain.grid, plane, way) > 0.5
    return inside


def in_order(prepared: PreparedStudy) -> list[Volume]:
    """The series in the order in which they are drawn."""
    by_name = {volume.modality: volume for volume in prepared.series}
    return [by_name[name] for name in SERIES]


def middle(prepared: PreparedStudy) -> NDArray[np.float64]:
    """The middle of the brain in the reference's world, R-A-S mm."""
    brain = prepared.brain
    assert brain is not None and brain.world is not None
    place = carried(np.argwhere(brain.mask).mean(axis=0)[None], brain.grid.affine)
    found: NDArray[np.float64] = carried(place, prepared.to_series[brain.world].inverse.matrix)[0]
    return found


def with_wrong_mask(right: PreparedStudy) -> PreparedStudy:
    """The same with the brain 25 mm too far to the front, which a mask in a file may not be."""
    assert right.brain is not None
    brain = right.brain
    moved = np.zeros_like(brain.mask)
    turn = brain.grid.orientation
    step = round(25 / brain.grid.canonical().spacing[1])
    turn.view(moved)[:, step:] = turn.view(brain.mask)[:, :-step]
    return replace(right, brain=replace(brain, mask=moved))


def mask_picture(raw: Path) -> Image.Image:
    """What the demonstration model finds in the raw study, on the grid of its T1c."""
    with brainmvp.Predictor.load(ROOT / "examples" / "bundles" / "demo-glioma") as predictor:
        result = predictor.predict({name.value: raw / f"{name}.nii.gz" for name in SERIES})
    return _with_legend(result)


def _with_legend(result: Result) -> Image.Image:
    planes = Planes.of(result)
    plain = replace(planes, mask=np.zeros_like(planes.mask))
    tiles = [_head(plain, 2)]
    tiles += [_head(planes, axis) for axis in (2, 1, 0)]
    page = sheet([Row("", tuple(tiles))], ["T1c, axial", "with the mask", "coronal", "sagittal"])
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    colours, left = structure_colours(result.outputs), _GAP
    for one in result.structures:
        draw.rectangle((left, 6, left + 12, 18), fill=colours.get(one.name))
        text = f"{one.title or one.name}: {one.volume_ml:.1f} mL"
        draw.text((left + 18, 3), text, _INK, font)
        left += 36 + round(draw.textlength(text, font))
    return page


def _head(planes: Planes, axis: int) -> Image.Image:
    """A plane through most of what was found, cut to the head."""
    picture = planes.panel(axis, planes.focus[axis], 330, "outlined")
    return picture.crop(picture.convert("L").point(lambda grey: 255 * (grey > 24)).getbbox())


def in_few_greys(picture: Image.Image) -> Image.Image:
    """A picture with a palette: its greys rounded, the colours kept."""
    pixels = np.asarray(picture).astype(int)
    grey = np.ptp(pixels, axis=2) == 0
    step = 255 / (_GREYS - 1)
    index = np.rint(pixels[..., 0] / step).astype(int)
    colours, which = np.unique(pixels[~grey], axis=0, return_inverse=True)
    index[~grey] = _GREYS + which.ravel()
    shades = np.repeat(np.rint(step * np.arange(_GREYS)).astype(int)[:, None], 3, axis=1)
    made = Image.fromarray(index.astype(np.uint8), "P")
    made.putpalette([*map(int, shades.ravel()), *map(int, colours.ravel())])
    return made


def write(name: str, picture: Image.Image) -> None:
    """Write a picture in few greys, and each of its colours as it is.

    Raises:
        SystemExit: it is too large for the repository.
    """
    out = io.BytesIO()
    in_few_greys(picture).save(out, "PNG", optimize=True)
    if len(out.getvalue()) > LARGEST:
        raise SystemExit(f"{name}: {len(out.getvalue())} bytes, more than {LARGEST}")
    (FOLDER / name).write_bytes(out.getvalue())


def write_all(shared: Path) -> None:
    """Write all of them; ``shared`` holds the real scans.

    Raises:
        SystemExit: they are not there.
    """
    raw = shared / PATIENT
    if not raw.is_dir():
        raise SystemExit(f"{raw} is not there; name the folder of the real scans with --shared")
    names = [TITLES[name] for name in SERIES]
    rules = Preprocessing(space=Space.STUDY)
    with preparer(rules, tuple(Modality)) as made:
        series = made.series({name: raw / f"{name}.nii.gz" for name in SERIES})
        right = made.ready(series).made
        assert isinstance(right, PreparedStudy)
        plane = sagittal(middle(right))
        write("clinical-series.png", sheet(drawn(right, plane), names))
        wrong = with_wrong_mask(right)
        row = replace(drawn(wrong, plane)[1], title="With a brain 25 mm too far to the front")
        write("clinical-wrong.png", sheet([row], names))
    write("clinical-mask.png", mask_picture(raw))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=SHARED)
    write_all(parser.parse_args().shared)


if __name__ == "__main__":
    main()
