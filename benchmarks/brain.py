"""How well brains are found: ``python benchmarks/brain.py [--write]``, beside ``../shared``.

Against HD-BET's masks of a patient with a glioma (``clinical/fg6692``), a collection's masks of
another (``longitudinal/ms01``), and heads rendered from labels (``anatomy``), whose brain is known.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from rendered_heads import CONTRASTS, EXAMS, LabelledHead
from scipy import ndimage
from study import machine
from tables import keep

from brainmvp_models.errors import InvalidInput
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import Preprocessing
from brainmvp_server.imaging.grid import Grid, carried
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.brain import brain_of, extract_brain
from brainmvp_server.preparation.brain_network import BrainNetworks, dice
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.stage import Means, prepare_study

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
PAGE = ROOT / "docs" / "brain.md"
SLICES_MM = (1, 3, 5)
Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One series: Dice, or why it was refused."""

    name: str
    dice: float
    least: float
    seconds: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        return (
            f"| {self.name} | {self.dice:.3f} | {self.least} | {self.seconds:.1f} s | {self.note} |"
        )


def clinical(networks: BrainNetworks) -> Iterator[Line]:
    """Each series of fg6692 alone, all four, and T1's brain on the atlas grid."""
    folder = SHARED / "clinical" / "fg6692"
    least = {Modality.T1: 0.975, Modality.T1C: 0.97, Modality.FLAIR: 0.955, Modality.T2: 0.94}
    matrices = _matrices(folder / "reference" / "rigid_ras_mm.json")
    heads = {m: read_nifti(folder / "raw" / f"{m}.nii.gz", m) for m in least}
    for modality, head in heads.items():
        truth = _mask(folder / "reference" / f"brain_{modality}.nii.gz")
        yield _line(f"fg6692 {modality}", networks, head, truth, least[modality])
    others = [modality for modality in heads if modality is not Modality.T1]
    to_t1 = {modality: np.linalg.inv(matrices[f"t1_to_{modality}"]) for modality in others}
    start = time.monotonic()
    brain = extract_brain(list(heads.values()), networks, to_common=to_t1)
    seconds = time.monotonic() - start
    t1_truth = _mask(folder / "reference" / "brain_t1.nii.gz")
    series = " and ".join(brain.series)
    yield Line(
        "fg6692, all four",
        dice(brain.mask, t1_truth),
        0.975,
        seconds,
        f"{series} agree to {brain.agreement:.3f}",
    )
    atlas = nib.load(folder / "reference" / "brain_sri24.nii.gz")
    grid = Grid(atlas.shape, atlas.affine)
    truth = np.asarray(atlas.dataobj) > 0
    ours, theirs = (
        dice(_mask_on(mask, brain.grid, grid, matrices["sri24_to_t1"]), truth)
        for mask in (brain.mask, t1_truth)
    )
    note = f"HD-BET's own of t1: {theirs:.3f}"
    yield Line("the same on the atlas grid, by its matrices", ours, 0.955, note=note)
    yield _prepared(networks, list(heads.values()), matrices, truth, grid)


def _prepared(
    networks: BrainNetworks,
    heads: list[Volume],
    matrices: dict[str, Matrix],
    truth: Mask,
    grid: Grid,
) -> Line:
    """All four as they are prepared for SRI24: the brain's shape, and where it lies, apart.

    The reference was registered with another atlas. Its own matrices lead from its place in the
    atlas to T1c and from there our registration to ours, so that the brain is compared with itself.
    """
    start = time.monotonic()
    made = prepare_study(
        heads,
        Preprocessing(space=Space.SRI24),
        Means(lambda: networks),
        CancelToken(),
        lambda _: nullcontext(),
    )
    seconds = time.monotonic() - start
    brain = np.any([volume.stored != 0 for volume in made.study.volumes], axis=0)
    to_reference = matrices[f"t1_to_{made.reference.modality}"] @ matrices["sri24_to_t1"]
    across = RigidTransform(made.to_worked.matrix @ to_reference)
    there, unmoved = (
        dice(_mask_on(brain, made.study.native.grid, grid, way), truth)
        for way in (across.matrix, np.eye(4))
    )
    apart = across.moved(carried(np.argwhere(truth)[::500], grid.affine))
    note = f"{apart:.1f} mm from the place of the reference; unmoved {unmoved:.3f}"
    return Line("prepared for sri24, at the place of the reference", there, 0.955, seconds, note)


def longitudinal(networks: BrainNetworks) -> Iterator[Line]:
    """Both visits of ms01; its masks of FLAIR are carried to T1 and T2 by its own matrices."""
    folder = SHARED / "longitudinal" / "ms01"
    matrices = _matrices(folder / "affine_ras_mm.json")
    for visit in ("study1", "study2"):
        truth = read_nifti(folder / f"{visit}_brain_flair.nii.gz", Modality.FLAIR)
        for modality in (Modality.FLAIR, Modality.T1, Modality.T2):
            head = read_nifti(folder / f"{visit}_{modality}.nii.gz", modality)
            to_flair: Matrix = np.eye(4)
            if modality is not Modality.FLAIR:
                to_flair = np.linalg.inv(matrices[f"{visit}_flair_to_{visit}_{modality}"])
            mask = _mask_on(truth.stored > 0, truth.grid, head.grid, to_flair)
            least = 0.955 if modality is Modality.FLAIR else 0.945
            yield _line(f"ms01 {visit} {modality}", networks, head, mask, least)


def rendered(networks: BrainNetworks) -> Iterator[Line]:
    """The heads kept for exams, in every contrast, slices of 1, 3 and 5 mm."""
    for number in EXAMS:
        labelled = LabelledHead.load(SHARED / "anatomy", number)
        for contrast in CONTRASTS:
            for slice_mm in SLICES_MM:
                head = labelled.rendered(contrast, slice_mm, seed=number)
                name = f"head {number:02d} {contrast}, {slice_mm} mm"
                yield _line(name, networks, head.volume, head.brain, 0.95)


def _line(name: str, networks: BrainNetworks, head: Volume, truth: Mask, least: float) -> Line:
    start = time.monotonic()
    try:
        brain = brain_of(head, networks)
    except InvalidInput as error:
        return Line(name, 0.0, least, time.monotonic() - start, f"refused: {error.problem}")
    seconds = time.monotonic() - start
    return Line(name, dice(brain.mask, truth), least, seconds, f"{brain.ml:.0f} mL")


def _mask(path: Path) -> Mask:
    return np.asarray(nib.load(path).dataobj) > 0


def _matrices(path: Path) -> dict[str, Matrix]:
    return {name: np.array(rows) for name, rows in json.loads(path.read_text("utf-8")).items()}


def _mask_on(mask: Mask, source: Grid, target: Grid, to_source: Matrix) -> Mask:
    """A mask on another grid, read linearly; ``to_source`` takes the target's world there."""
    across = np.linalg.inv(source.affine) @ to_source @ target.affine
    shares = ndimage.affine_transform(
        mask.astype(np.float32), across[:3, :3], across[:3, 3], output_shape=target.shape, order=1
    )
    inside: Mask = shares > 0.5
    return inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    options = parser.parse_args()
    worker = Worker(NetworkCache(warm_up=True))
    networks = BrainNetworks(worker)
    lines = []
    for part in (clinical, longitudinal, rendered):
        for line in part(networks):
            print(line, flush=True)
            lines.append(line)
    worker.close()
    drawn = [line for line in lines if line.name.startswith("head")]
    worst = min(drawn, key=lambda line: line.dice)
    table = [
        "| series | Dice | at least | took | |",
        "| --- | --- | --- | --- | --- |",
        *(str(line) for line in lines if line not in drawn),
        "",
        f"{len(drawn)} rendered series of 4 heads: Dice {worst.dice:.3f} ({worst.name}) to "
        f"{max(line.dice for line in drawn):.3f}; "
        f"{sum(line.dice >= line.least for line in drawn)} of them at least {worst.least}.",
        "",
        machine(),
    ]
    print("\n".join(table))
    if options.write:
        keep(table, PAGE, "brain")


if __name__ == "__main__":
    main()
