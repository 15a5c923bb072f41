"""How well series are registered: ``python benchmarks/registration.py [--write]``.

On the scans of ``../shared``: three real patients and their references; 200 pairs
displaced by up to 40 mm and 40°, real ones and heads drawn from labels, of which none may end
elsewhere unnoticed; series that do not belong; and the time that ANTs takes for the same
(``--ants PYTHON``, one with antspyx; with ``--only-ants`` nothing else).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from displaced_heads import SHARED, Pair, Series, displacement, real_pairs, rendered_pair
from scipy import ndimage
from study import machine
from tables import keep

from brainmvp_models.errors import InvalidInput
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.preparation.belonging import check_belongs
from brainmvp_server.preparation.register import Registration, register
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid

PAGE = Path(__file__).parents[1] / "docs" / "registration.md"
CLOSE_MM = 1.5
HEADS = 6
"""Of those drawn from labels."""
DRAWN = 10
"""Pairs of these that ANTs is given too."""
ANTS_FINDS = 10.0
"""Degrees, and millimetres, of their displacement."""
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Outcome:
    """One pair, registered.

    Attributes:
        error_mm: mean over the brain.
        refused: why, where it was.
        cpu_s: of the registration; the check is not in it.
    """

    name: str
    error_mm: float
    refused: str
    cpu_s: float


def outcome(pair: Pair, points: np.ndarray) -> Outcome:
    """Register a pair, and say whether it is believed."""
    begin = time.process_time()
    found = _registered(pair)
    seconds = time.process_time() - begin
    error = found.to_moving.apart(pair.truth, points)
    return Outcome(pair.name, error, _refusal(pair, found), seconds)


def _registered(pair: Pair) -> Registration:
    moving, reference = (
        Pyramid(series.volume, None if pair.skull else series.brain)
        for series in (pair.moving, pair.reference)
    )
    return register(moving, reference)


def _refusal(pair: Pair, found: Registration) -> str:
    moving, reference = (
        series.volume if pair.skull else _cut_out(series)
        for series in (pair.moving, pair.reference)
    )
    try:
        check_belongs(moving, reference, found.to_moving)
    except InvalidInput as error:
        return error.problem
    return ""


def _cut_out(series: Series) -> Volume:
    lowest = series.volume.stored.min()
    return replace(series.volume, stored=np.where(series.brain, series.volume.stored, lowest))


def references(pairs: Sequence[Pair]) -> list[str]:
    """A table of the real pairs as they are."""
    lines = ["| pair | by the headers | registered | CPU | |", "| --- | --- | --- | --- | --- |"]
    for pair in pairs:
        points = pair.reference.points
        done = outcome(pair, points)
        before = pair.truth.moved(points)
        lines.append(
            f"| {pair.name} | {before:.2f} mm | {done.error_mm:.2f} mm | {done.cpu_s:.2f} s "
            f"| {done.refused} |"
        )
        print(lines[-1], flush=True)
    return lines


def recovery(pairs: Sequence[Pair], count: int) -> list[str]:
    """Displaced pairs, half of them real: how many come back, and what is said of the others."""
    random = np.random.default_rng(26)
    done = []
    for number in range(count):
        real = number % 2 == 0
        pair = pairs[int(random.integers(len(pairs)))] if real else rendered_pair(random, HEADS)
        points = pair.reference.points
        by = displacement(random, pair.truth.apply(points.mean(axis=0)))
        done.append(outcome(pair.displaced(by), points))
        if done[-1].error_mm > CLOSE_MM or done[-1].refused:
            print(number, done[-1], flush=True)
    close = [each for each in done if each.error_mm <= CLOSE_MM]
    wrong = [each for each in done if each.error_mm > CLOSE_MM and not each.refused]
    refused = [each for each in close if each.refused]
    mean = np.mean([each.cpu_s for each in done])
    return [
        f"{count} displaced pairs: {len(close)} within {CLOSE_MM} mm (median "
        f"{np.median([each.error_mm for each in done]):.2f} mm), of them {len(refused)} refused "
        f"all the same; {count - len(close) - len(wrong)} further ones refused; {len(wrong)} wrong "
        f"in silence{_worst(wrong)}. {mean:.2f} s of one core a pair.",
    ]


def _worst(wrong: Sequence[Outcome]) -> str:
    if not wrong:
        return ""
    worst = max(wrong, key=lambda each: each.error_mm)
    return f" (the worst {worst.error_mm:.1f} mm, {worst.name})"


def wrong_inputs(pairs: Sequence[Pair]) -> list[str]:
    """Series that do not belong to the head they are sent with."""
    lines = ["| sent with fg6692's T1 | |", "| --- | --- |"]
    reference = next(pair.reference for pair in pairs if pair.name == "fg6692 t2, head")
    nothing = np.ones(1, np.bool_)
    for name, volume in _strangers():
        moving = Series(volume, nothing)
        pair = Pair(name, reference, moving, RigidTransform.identity(), skull=True)
        refused = _refusal(pair, _registered(pair))
        lines.append(f"| {name} | {'refused: ' + refused if refused else '**taken**'} |")
        print(lines[-1], flush=True)
    return lines


def _strangers() -> Iterator[tuple[str, Volume]]:
    fg, ms = SHARED / "clinical" / "fg6692" / "raw", SHARED / "longitudinal"
    for patient in ("ms01/study1_", "ms01/study2_", "ms03-study2/"):
        for modality in (Modality.T1, Modality.T2, Modality.FLAIR):
            path = ms / f"{patient}{modality}.nii.gz"
            yield (
                f"another patient's {modality} ({patient.strip('/_')})",
                read_nifti(path, modality),
            )
    for modality in (Modality.T1C, Modality.T2, Modality.FLAIR):
        own = read_nifti(fg / f"{modality}.nii.gz", modality)
        yield f"its own {modality}, mirrored", _flipped(own, 0)
        yield f"its own {modality}, upside down and mirrored", _flipped(own, 2)
        for side, name in ((0, "lower"), (1, "upper")):
            yield f"its own {modality}, the {name} half", _half(own, side)
    yield "a localizer of three slices", _localizer(read_nifti(fg / "t2.nii.gz", Modality.T2))
    yield "a limb", _limb()


def _flipped(volume: Volume, world: int) -> Volume:
    axis = volume.grid.orientation.axes[world]
    return replace(volume, stored=np.ascontiguousarray(np.flip(volume.stored, axis)))


def _half(volume: Volume, side: int) -> Volume:
    """The lower or the upper half, cut off."""
    view = volume.grid.orientation.view(volume.stored)
    middle = view.shape[2] // 2
    grid = volume.grid.canonical()
    step = np.eye(4)
    step[2, 3] = middle if side else 0
    cut = view[:, :, middle:] if side else view[:, :, :middle]
    return replace(
        volume, stored=np.ascontiguousarray(cut), grid=Grid(cut.shape, grid.affine @ step)
    )


def _localizer(volume: Volume) -> Volume:
    """Three slices of 10 mm, 40 mm apart."""
    view, grid = volume.grid.orientation.view(volume.stored), volume.grid.canonical()
    apart = round(40 / grid.spacing[2])
    cut = view[:, :, 2::apart][:, :, :3]
    step = np.diag([1.0, 1.0, apart, 1.0])
    step[2, 3] = 2
    return replace(
        volume, stored=np.ascontiguousarray(cut), grid=Grid(cut.shape, grid.affine @ step)
    )


def _limb() -> Volume:
    """Two bones in muscle under fat, 160 mm long, as of a knee."""
    random = np.random.default_rng(3)
    shape = (160, 160, 40)
    x, y, z = np.indices(shape, dtype=np.float64)
    x, y, z = x - 80, y - 80, (z - 20) * 4
    across = np.hypot(x, y)
    values = np.where(across < 65, 0.9, 0.0)
    values[across < 55] = 0.4
    bone = np.hypot(x - 5, y + 8) < 22 + 8 * np.exp(-((z / 30) ** 2))
    values[bone & (np.abs(z) > 4)] = 0.75
    values[np.hypot(x + 28, y) < 8] = 0.7
    values += 0.03 * ndimage.gaussian_filter(random.standard_normal(shape), 1)
    stored = np.rint(1000 * np.abs(values)).astype(np.int16)
    grid = Grid(shape, np.diag([1.0, 1.0, 4.0, 1.0]))
    return Volume(Modality.T2, stored, 1, 0, grid, SpatialHeader({}), "sha256:" + 64 * "0")


def beside_ants(python: Path) -> list[str]:
    """The time and the error of both, in one run.

    On the raw series of fg6692, whose references are ANTs' own registrations, and on heads drawn
    from labels, whose truth is known; these are moved no further than ANTs' climb finds back.
    """
    real = {pair.name: pair for pair in real_pairs()}
    pairs = [real[f"fg6692 {each}, head"] for each in (Modality.T1C, Modality.T2, Modality.FLAIR)]
    random = np.random.default_rng(2)
    for _ in range(DRAWN):
        pair = rendered_pair(random, HEADS, skull=True)
        by = displacement(random, pair.reference.points.mean(axis=0), ANTS_FINDS)
        pairs.append(pair.displaced(by))
    rows = []
    for pair, theirs in zip(pairs, _of_ants(python, pairs), strict=True):
        points = pair.reference.points
        ours = outcome(pair, points)
        error = RigidTransform(np.array(theirs["matrix"])).apart(pair.truth, points)
        rows.append((float(theirs["cpu_s"]), error, ours.cpu_s, ours.error_mm))
        print(pair.name, rows[-1], flush=True)
    drawn = np.array(rows[3:])
    named = [(pair.name, row) for pair, row in zip(pairs[:3], rows[:3], strict=True)]
    named.append((f"{DRAWN} drawn heads, median", tuple(np.median(drawn, axis=0))))
    named.append((f"{DRAWN} drawn heads, worst", tuple(drawn.max(axis=0))))
    return [
        "| | ANTs | error | ours | error |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {row[0]:.1f} s | {row[1]:.2f} mm | {row[2]:.2f} s | {row[3]:.2f} mm |"
            for name, row in named
        ),
    ]


def _of_ants(python: Path, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """What ``ants_rigid.py`` makes of the pairs' volumes, written as files."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, pair in enumerate(pairs):
            for side in ("reference", "moving"):
                volume = getattr(pair, side).volume
                path = Path(folder) / f"{number}-{side}.nii"
                values = volume.values(volume.stored).astype(np.float32)
                nib.save(nib.Nifti1Image(values, volume.grid.affine), path)
                files.append(str(path))
        ran = subprocess.run(
            [str(python), str(_HERE / "ants_rigid.py"), *files],
            check=True,
            capture_output=True,
            text=True,
            timeout=1800,
        )
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the tables in the docs")
    parser.add_argument("--count", type=int, default=200, help="displaced pairs")
    parser.add_argument("--ants", type=Path, help="a Python with antspyx")
    parser.add_argument("--only-ants", action="store_true", help="nothing but the table with ANTs")
    options = parser.parse_args()
    if options.only_ants and options.ants is None:
        parser.error("--only-ants needs --ants")
    if options.only_ants:
        print("\n".join((*beside_ants(options.ants), "", machine())))
        return
    pairs = real_pairs()
    tables = [references(pairs), recovery(pairs, options.count), wrong_inputs(pairs)]
    if options.ants:
        tables.append(beside_ants(options.ants))
    lines = [line for table in tables for line in (*table, "")] + [machine()]
    print("\n".join(lines))
    if options.write:
        keep(lines, PAGE, "registration")


if __name__ == "__main__":
    main()
