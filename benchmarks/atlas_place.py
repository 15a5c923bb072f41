"""Where the MNI152's brain lies in SRI24's frame: ``python benchmarks/atlas_place.py SRI24``.

SRI24 is the atlas's own T1 without its skull, on its grid of 240 × 240 × 155 mm, which the project
does not ship. It is registered with the packaged brain; so are twenty heads drawn from labels and
two real patients, and each of them with SRI24's. Told are the turn about the left-right axis, where
the brain's centre comes to lie, and how far apart places on the SRI24 grid are: the packaged
atlas's, SRI24's own and the one that another pipeline gave the patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from displaced_heads import SHARED, Points, transforms
from rendered_heads import LabelledHead

from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.preparation.atlas import atlas_of, mni152_to_sri24
from brainmvp_server.preparation.register import register
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid

_HEADS = range(1, 21)
_MNI152_CENTRE = np.array([0.0, -22.1, 9.5])


@dataclass(frozen=True)
class Place:
    """The MNI152's brain in SRI24's frame."""

    way: RigidTransform

    @property
    def turn(self) -> float:
        """Degrees about the left-right axis, nose up."""
        _, y, z = self.way.matrix[:3, 1]
        return float(np.degrees(np.arctan2(z, y)))

    @property
    def centre(self) -> Points:
        """(3,) mm."""
        return self.way.apply(_MNI152_CENTRE)

    def __str__(self) -> str:
        return f"{self.turn:.1f}° | {', '.join(f'{mm:.1f}' for mm in self.centre)} mm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sri24", type=Path, help="SRI24's T1 without its skull")
    atlas = atlas_of(Space.SRI24)
    assert atlas is not None
    ours = Pyramid(atlas.brain)
    sri24 = Pyramid(read_nifti(parser.parse_args().sri24, Modality.T1))
    print("| the MNI152's brain in SRI24's frame | turned by | its centre |", "| --- | --- | --- |")
    print(f"| packaged | {Place(mni152_to_sri24())} |")
    print(f"| SRI24's own brain | {Place(register(sri24, ours).to_moving)} |")
    heads = [_by_both(head, ours, sri24)[0] for head in _drawn()]
    turns, centres = [one.turn for one in heads], np.array([one.centre for one in heads])
    middle = ", ".join(f"{mm:.1f}" for mm in np.median(centres, axis=0))
    spread = f"({min(turns):.1f}° to {max(turns):.1f}°)"
    print(f"| {len(heads)} heads, median | {np.median(turns):.1f}° {spread} | {middle} mm |")
    for patient, kind in (("fg6692", "raw"), ("du7294", "brains")):
        for line in _patient(patient, kind, ours, sri24):
            print(line, flush=True)


def _drawn() -> Iterator[Pyramid]:
    for number in _HEADS:
        made = LabelledHead.load(SHARED / "anatomy", number).rendered(Modality.T1, 3, seed=number)
        yield Pyramid(made.volume, made.brain)


def _by_both(
    series: Pyramid, ours: Pyramid, sri24: Pyramid
) -> tuple[Place, RigidTransform, RigidTransform]:
    """The place that a series says; the ways from the packaged brain and from SRI24's to it."""
    from_ours, from_sri24 = (register(series, brain).to_moving for brain in (ours, sri24))
    return Place(from_sri24.inverse.after(from_ours)), from_ours, from_sri24


def _patient(patient: str, kind: str, ours: Pyramid, sri24: Pyramid) -> Iterator[str]:
    folder = SHARED / "clinical" / patient
    theirs = transforms(folder / "reference" / "rigid_ras_mm.json")
    points = sri24.middle.head
    for name in ("t1", "t1c", "t2", "flair"):
        volume = read_nifti(folder / kind / f"{name}.nii.gz", Modality(name))
        mask = volume.stored > 0
        if kind == "raw":
            file = folder / "reference" / f"brain_{name}.nii.gz"
            mask = np.asarray(nib.load(file).dataobj) > 0
        place, from_ours, own = _by_both(Pyramid(volume, mask), ours, sri24)
        packaged = from_ours.after(mni152_to_sri24().inverse)
        across = theirs["sri24_to_t1"]
        if name != "t1":
            across = theirs[f"t1_to_{name}"].after(across)
        yield (
            f"| {patient} {name} | {place} | packaged to own {packaged.apart(own, points):.1f} mm, "
            f"packaged to theirs {packaged.apart(across, points):.1f} mm, "
            f"own to theirs {own.apart(across, points):.1f} mm |"
        )


if __name__ == "__main__":
    main()
