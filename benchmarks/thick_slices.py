"""A lesion's answer on the grid of thick slices: ``python benchmarks/thick_slices.py``.

The way back reads the probabilities at the middle of each slice. This measures that against their
mean over the slice, on 60 lesions that are drawn: series of slices of 3, 5 and 7 mm, means of a
lesion of 1 mm; an answer as good as they allow, at 1 mm; and a truth, the slices' voxels that are
half lesion or more. The answer comes from the series whose grid is asked for, from one whose slices
lie half a slice off, and from one of 1 mm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.preparation.brain_network import dice
from brainmvp_server.preparation.resample import returned
from brainmvp_server.preparation.rigid import RigidTransform

EDGE = 80
LESIONS = 60
SLICES_MM = (3, 5, 7)
SOURCES = ("the same series", "slices half way between", "a series of 1 mm")
_FINE = Grid((EDGE, EDGE, EDGE), np.eye(4))
_SAME_WORLD = RigidTransform.identity()

Array = NDArray[np.float32]


def lesion(random: np.random.Generator) -> Array:
    """(x, y, z) of 1 mm, 0 or 1: a ball of 8 to 22 mm with a rough border."""
    rough = ndimage.gaussian_filter(random.standard_normal(_FINE.shape), 5)
    middle = EDGE / 2 + random.uniform(-3, 3, 3)
    away = (np.indices(_FINE.shape) - middle[:, None, None, None]) / random.uniform(
        0.7, 1.3, 3
    ).reshape(3, 1, 1, 1)
    inside = np.linalg.norm(away, axis=0) < random.uniform(8, 22) + 2.5 * rough / rough.std()
    drawn: Array = inside.astype(np.float32)
    return drawn


def sliced(fine: Array, thick: int, begin: int) -> tuple[Array, Grid]:
    """Means over slices of some millimetres, the first from ``begin`` on, and their grid."""
    count = (EDGE - begin) // thick
    cut = fine[:, :, begin : begin + count * thick]
    affine = np.diag([1.0, 1.0, thick, 1.0])
    affine[2, 3] = begin + (thick - 1) / 2
    means = cut.reshape(EDGE, EDGE, count, thick).mean(axis=3)
    return means, Grid((EDGE, EDGE, count), affine)


def answer(series: Array, grid: Grid) -> Array:
    """Probabilities at 1 mm that a network could have from a series: a soft border in its plane."""
    seen = interpolated(series, grid, _FINE)[0]
    soft = ndimage.gaussian_filter(seen, (1, 1, 0))
    return np.asarray(1 / (1 + np.exp(-8 * (soft - 0.5))), np.float32)


def read(probability: Array, grid: Grid, thick: int) -> tuple[Array, Array]:
    """The probability in the middle of each slice, and its mean over the slice."""
    planes = []
    for off in np.arange(thick) - (thick - 1) / 2:
        affine = grid.affine.copy()
        affine[2, 3] += off
        planes.append(returned(probability, _FINE, Grid(grid.shape, affine), _SAME_WORLD))
    return planes[thick // 2], np.mean(planes, axis=0)


def main() -> None:
    random = np.random.default_rng(26)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(LESIONS):
        fine = lesion(random)
        for thick in SLICES_MM:
            begin = int(random.integers(thick))
            shares, grid = sliced(fine, thick, begin)
            between = sliced(fine, thick, (begin + thick // 2) % thick)
            for name, source in zip(SOURCES, ((shares, grid), between, (fine, _FINE)), strict=True):
                middle, mean = read(answer(*source), grid, thick)
                both = tuple(dice(one >= 0.5, shares >= 0.5) for one in (middle, mean))
                found.setdefault((name, thick), []).append((both[0], both[1]))
    print("| answer from | slices | in the middle | mean over the slice |")
    print("| --- | --- | --- | --- |")
    for (name, thick), figures in sorted(found.items()):
        middle, mean = np.mean(figures, axis=0)
        print(f"| {name} | {thick} mm | {middle:.3f} | {mean:.3f} |")


if __name__ == "__main__":
    main()
