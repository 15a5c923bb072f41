"""dcm2niix, for the volumes that DICOM's own attributes do not describe: Siemens mosaics.

A mosaic holds all slices of a volume as tiles of one image; how they lie in space stands in a
private header that dcm2niix reads. It also converts what it had better refuse: it interpolates
gaps, and stretches what is irregular. So its output is believed only where it holds the very values
of the images, and lies where their own attributes say that it must.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.imaging.dicom.files import Frame
from brainmvp_server.imaging.dicom.series import SetAside, Sorted, Stack
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.observability.logs import kind_and_place

log = logging.getLogger(__name__)

PROGRAM = "dcm2niix"
_SECONDS = 120
_LPS = np.diag((-1.0, -1.0, 1.0, 1.0))
_SAME_MM = 0.05
_SAME_SPACING = 0.02


def check_installed() -> None:
    """Refuse to begin without the program.

    Raises:
        InvalidSettings: it is not installed.
    """
    if shutil.which(PROGRAM) is None:
        raise InvalidSettings(
            "dcm2niix is not installed",
            remedy="Install it (Debian's package dcm2niix), or leave --dicom-fallback out",
            subject="dicom_fallback",
        )


def with_fallback(study: Sorted, scratch: Path) -> Sorted:
    """What is set aside, as a volume where dcm2niix can be believed; else with its reason, too.

    Args:
        scratch: a folder for what is converted; it must live as long as the stacks.
    """
    stacks, aside = list(study.stacks), []
    for number, part in enumerate(study.set_aside):
        if not part.frames:
            aside.append(part)
            continue
        folder = scratch / f"{PROGRAM}-{number:04d}"
        try:
            stacks.append(_converted(part, folder))
        except _NotBelieved as fault:
            reason = f"{part.reason}; {PROGRAM} does not help: {fault}"
            aside.append(replace(part, reason=reason))
    return replace(study, stacks=tuple(stacks), set_aside=tuple(aside))


class _NotBelieved(Exception):
    """Why an output is not used."""


def _converted(part: SetAside, folder: Path) -> Stack:
    image = nib.Nifti1Image.from_filename(_run(part.frames, folder))
    if image.ndim != 3:
        raise _NotBelieved("its output is no single volume")
    voxels = np.asanyarray(image.dataobj.get_unscaled())
    _check_values(voxels, part.frames)
    _check_place(_LPS @ image.affine, voxels.shape, part.frames)
    # As in every stack, rows run down: (column, row, slice) is right-handed in L-P-S.
    affine = image.affine @ np.array(
        [[1, 0, 0, 0], [0, -1, 0, voxels.shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    turned = np.ascontiguousarray(voxels[:, ::-1].T)
    path = folder / "volume.npy"
    np.save(path, turned)
    grid = Grid(voxels.shape, affine)
    plane = ("sagittal", "coronal", "axial")[grid.orientation.axes.index(2)]
    header = replace(part.header, slices=voxels.shape[2], spacing=grid.spacing, plane=plane)
    return Stack(part.label, header, part.frame_of_reference, part.frames, grid, path)


def _run(frames: tuple[Frame, ...], folder: Path) -> Path:
    """The one file that dcm2niix makes of some frames' files."""
    into = folder / "out"
    into.mkdir(parents=True)
    for number, path in enumerate(dict.fromkeys(frame.path for frame in frames)):
        shutil.copyfile(path, folder / f"{number:06d}.dcm")
    # It reads its defaults from the home folder: it is given an empty one.
    options = ("-b", "n", "-z", "n", "-d", "0", "-f", "volume")
    command = [PROGRAM, *options, "-o", str(into), str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_SECONDS, check=False,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(into)},
        )  # fmt: skip
    except FileNotFoundError:
        raise _NotBelieved("it is not installed") from None
    except subprocess.TimeoutExpired:
        raise _NotBelieved(f"it took longer than {_SECONDS} s") from None
    found = sorted(into.glob("*.nii"))
    if any("_Eq" in path.stem or "_Tilt" in path.stem for path in found):
        raise _NotBelieved("it interpolated")
    if done.returncode or len(found) != 1:
        raise _NotBelieved(f"it made {len(found)} volumes")
    return found[0]


def _check_values(voxels: NDArray[Any], frames: tuple[Frame, ...]) -> None:
    """Every value of the image, and no other; the tiles that a mosaic leaves empty are 0."""
    from brainmvp_server.imaging.dicom.pixels import stored_values

    try:
        values = np.concatenate([stored_values(frame).ravel() for frame in frames])
    except MemoryError:
        raise
    except Exception as error:
        log.info("pixels could not be decoded: %s", kind_and_place(error))
        raise _NotBelieved("its pixels are damaged") from None
    mine, theirs = (np.unique(one[one != 0], return_counts=True) for one in (voxels, values))
    if not all(map(np.array_equal, mine, theirs)):
        raise _NotBelieved("its voxels are not those of the image")


def _check_place(
    affine: NDArray[np.float64], shape: tuple[int, ...], frames: tuple[Frame, ...]
) -> None:
    """Every image is a slice, or the first tile of the only one lies in the middle of the mosaic.

    ``affine`` is in L-P-S; dcm2niix turns rows upside down.
    """
    frame = frames[0]
    assert frame.position and frame.orientation and frame.spacing
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    spacing = np.array((frame.spacing[1], frame.spacing[0]))
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / lengths
    tile = np.array(shape[:2])
    size = np.array((frame.size[1], frame.size[0]))
    corner = np.array(frame.position) + np.stack((row, column), 1) @ (spacing * (size - tile) / 2)
    ends = [affine @ (0, shape[1] - 1, k, 1) for k in (0, shape[2] - 1)]
    off = min(float(np.linalg.norm(end[:3] - corner)) for end in ends)
    if len(frames) > 1:
        places = [np.linalg.inv(affine) @ (*(one.position or ()), 1) for one in frames]
        slices = np.array([place[2] for place in places])
        off = _SAME_MM * float(np.abs(slices - np.rint(slices)).max() / _SAME_SPACING)
        if sorted(np.rint(slices).astype(int)) != list(range(shape[2])):
            raise _NotBelieved("its slices are not the images")
    along = np.cross(row, column)
    straight = (directions[:, 0] @ row, -(directions[:, 1] @ column), abs(directions[:, 2] @ along))
    steps = (*spacing, frame.step)
    wrong = [
        abs(mine - theirs) > _SAME_SPACING * theirs
        for mine, theirs in zip(lengths, steps, strict=True)
        if theirs
    ]
    if off > _SAME_MM or min(straight) < 1 - 1e-4 or any(wrong):
        raise _NotBelieved("its volume does not lie where the image says")
