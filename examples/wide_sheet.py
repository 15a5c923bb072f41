"""A contact sheet of wide synthetic studies: ``python examples/wide_sheet.py FOLDER OUT.png``.

FOLDER holds what ``brainmvp synthesize --wide`` wrote. A row shows two studies: T1, T1c, T2,
FLAIR and the labels (oedema green, core red, enhancing tumour yellow), in the slice with most
of the tumour.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SERIES = ("t1", "t1c", "t2", "flair")
COLOURS = {0: (0, 0, 0), 1: (217, 83, 79), 2: (92, 184, 92), 4: (240, 173, 78)}
TILE, ROWS, ACROSS = 72, 6, 2


def main() -> None:
    folders = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    strips = [_strip(folder) for folder in folders[: ROWS * ACROSS]]
    rows = [np.hstack(strips[i : i + ACROSS]) for i in range(0, len(strips), ACROSS)]
    picture = Image.fromarray(np.vstack(rows))
    picture.quantize(128).save(sys.argv[2], optimize=True)


def _strip(folder: Path) -> NDArray[np.uint8]:
    labels = np.asarray(nib.load(folder / "label.nii.gz").dataobj).astype(np.uint8)
    marked = (labels > 0).sum(axis=(0, 1))
    at = int(marked.argmax()) if marked.any() else labels.shape[2] // 2
    tiles = []
    for name in SERIES:
        scan = np.asarray(nib.load(folder / f"{name}.nii.gz").dataobj, np.float32)
        bright = np.percentile(scan[scan > 0], 99.5)
        grey = (np.clip(scan[:, :, at] / bright, 0, 1) * 255).astype(np.uint8)
        tiles.append(_tile(np.repeat(grey[..., None], 3, axis=2)))
    coloured = np.zeros((*labels.shape[:2], 3), np.uint8)
    for value, colour in COLOURS.items():
        coloured[labels[:, :, at] == value] = colour
    tiles.append(_tile(coloured))
    return np.hstack(tiles)


def _tile(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The plane (X, Y, 3), anterior up, in the middle of a square tile."""
    image = Image.fromarray(np.ascontiguousarray(plane.transpose(1, 0, 2)[::-1]))
    image.thumbnail((TILE, TILE))
    tile = Image.new("RGB", (TILE, TILE))
    tile.paste(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    return np.asarray(tile)


if __name__ == "__main__":
    main()
