"""Look at every file of a list of cases before the first step: headers, and labels' values.

Nothing here needs torch. Files are read by several threads; of an image only the header is read,
and its size compared with what the header promises.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import Modality, printable
from brainmvp_models.task import ClassOutputs, ScoreOutputs, Task
from brainmvp_training.case import Case

_SAME_PLACE = 0.1
"""Grids agree when no corner is further off than this share of the smallest voxel edge."""

_THREADS = 8
_MOST_LABEL = 255


@dataclass(frozen=True)
class Fault:
    """One thing that would stop a training or spoil it.

    Attributes:
        case: the case's name; empty where the whole list is at fault.
        part: a modality, ``label`` or ``target``.
        file: the file at fault, if it is one's.
    """

    case: str
    part: str
    file: Path | None
    problem: str
    remedy: str

    def __str__(self) -> str:
        start = " ".join(word for word in (self.case, self.part) if word)
        where = f" ({self.file})" if self.file else ""
        return f"{start}{where}: {self.problem}. {self.remedy}."


def check_cases(
    cases: Sequence[Case],
    task: Task | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Fault, ...]:
    """Every fault of a list of cases, in its order; none means that training can begin.

    Args:
        task: what the cases are for; None for pre-training, which needs no label and takes any
            modality. Without a task labels and targets are not looked at.
        progress: told how many cases are done, and how many there are.
    """
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        found: list[Fault] = []
        for done, faults in enumerate(pool.map(lambda c: _check_case(c, task), cases), start=1):
            found += faults
            if progress is not None:
                progress(done, len(cases))
    return (*_check_list(cases, task), *found)


def refuse(faults: Sequence[Fault], source: Path) -> None:
    """Raise the faults of the list ``source``, if there are any, as one error.

    Raises:
        InvalidDatalist: with the number of faults and the first of them.
    """
    if faults:
        first = faults[0]
        where = " ".join(word for word in (first.case, first.part) if word)
        raise InvalidDatalist(
            f"{len(faults)} fault{'s' * (len(faults) > 1)}; the first: {where}: {first.problem}",
            remedy=f"{first.remedy}; --dry-run lists all",
            subject=source.name,
        )


def target_index(target: str, outputs: ScoreOutputs) -> int | None:
    """Which class a target names, by name (in any case) or by number; None if it names none."""
    names = [score.name.lower() for score in outputs.classes]
    if target.lower() in names:
        return names.index(target.lower())
    return int(target) if target.isdecimal() and int(target) < len(names) else None


def label_values(task: Task) -> frozenset[int]:
    """The values a mask of this task may hold; any label for a classification."""
    outputs = task.outputs
    if isinstance(outputs, ScoreOutputs):
        return frozenset(range(_MOST_LABEL + 1))
    entries = outputs.classes if isinstance(outputs, ClassOutputs) else outputs.labels
    return frozenset({0} | {entry.value for entry in entries})


@dataclass(frozen=True, eq=False)
class _Header:
    """What a file's header says: shape and affine with axes as close to R, A, S as flips allow."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    def apart(self, other: _Header) -> str | None:
        """How another grid differs, in words; None if it is the same."""
        if self.shape != other.shape:
            return f"it has {_size(other.shape)} voxels, not {_size(self.shape)}"
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], [1], indexing="ij"))
        apart = (self.affine - other.affine)[:3] @ corners.reshape(4, -1)
        furthest = float(np.linalg.norm(apart, axis=0).max())
        if furthest > _SAME_PLACE * float(np.linalg.norm(self.affine[:3, :3], axis=0).min()):
            return f"it lies up to {furthest:.2f} mm off, voxel for voxel"
        return None


class _Unusable(Exception):
    """What is wrong with a file, and the remedy."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.remedy = problem, remedy


def _check_list(cases: Sequence[Case], task: Task | None) -> list[Fault]:
    """Faults of the list as a whole."""
    if task is None:
        return []
    given = {modality for case in cases for modality in case.images}
    return [
        Fault("", modality.value, None, "no case has this modality",
              "Check the modalities' names, or take the channel out of the task")
        for modality in task.modalities
        if modality not in given
    ]  # fmt: skip


def _check_case(case: Case, task: Task | None) -> list[Fault]:
    faults = _check_modalities(case, task) if task else []
    first: tuple[str, _Header] | None = None
    for modality, file in case.images.items():
        try:
            header = _read_header(file)
            if first and (difference := first[1].apart(header)):
                raise _Unusable(
                    f"is not on the grid of {first[0]}: {difference}",
                    f"Resample it onto the grid of {first[0]}",
                )
        except _Unusable as fault:
            faults.append(Fault(case.name, modality.value, file, fault.problem, fault.remedy))
            continue
        first = first or (modality.value, header)
    if task and isinstance(task.outputs, ScoreOutputs):
        faults += _check_target(case, task.outputs)
        if case.label is not None:  # windows may be centred on it
            faults += _check_label(case, task, first)
    elif task:
        faults += _check_label(case, task, first)
    return faults


def _check_modalities(case: Case, task: Task) -> list[Fault]:
    faults = [
        Fault(case.name, channel.modality.value, None, "the task requires this modality",
              "Add its file, or leave the case out")
        for channel in task.channels
        if channel.required and channel.modality not in case.images
    ]  # fmt: skip
    if not any(modality in case.images for modality in task.modalities):
        faults.append(
            Fault(case.name, "", None, "has none of the task's modalities",
                  f"Give at least one of: {', '.join(task.modalities)}")
        )  # fmt: skip
    files: dict[Path, Modality] = {}
    for modality, file in case.images.items():
        if file in files:
            faults.append(
                Fault(case.name, modality.value, file, f"is also given as {files[file]}",
                      "Name each modality's own file")
            )  # fmt: skip
        files[file] = modality
    return faults


def _check_label(case: Case, task: Task, first: tuple[str, _Header] | None) -> list[Fault]:
    if case.label is None:
        return [Fault(case.name, "label", None, "there is none", "Name the mask's file")]
    try:
        header = _read_header(case.label)
        if first and (difference := first[1].apart(header)):
            raise _Unusable(
                f"is not on the grid of {first[0]}: {difference}",
                f"Resample it onto the grid of {first[0]}, by nearest neighbour",
            )
        _check_values(case.label, task)
    except _Unusable as fault:
        return [Fault(case.name, "label", case.label, fault.problem, fault.remedy)]
    return []


def _check_values(file: Path, task: Task) -> None:
    try:
        image: Any = nib.load(file)
        values = np.unique(np.asanyarray(image.dataobj))
    except _DAMAGED as error:
        raise _Unusable(*_damaged(error)) from None
    known = label_values(task)
    strange = [v.item() for v in values if not np.isfinite(v) or v != int(v) or int(v) not in known]
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:5])
        whole = len(known) == _MOST_LABEL + 1
        allowed = f"0 to {_MOST_LABEL}" if whole else ", ".join(map(str, sorted(known)))
        raise _Unusable(
            f"holds the value{'s' * (len(strange) > 1)} {shown}"
            f"{', …' if len(strange) > 5 else ''}, which task '{task.name}' does not know",
            f"It knows {allowed}: relabel the mask, or change the task",
        )


def _check_target(case: Case, outputs: ScoreOutputs) -> list[Fault]:
    names = ", ".join(score.name for score in outputs.classes)
    if case.target is None:
        return [Fault(case.name, "target", None, "there is none", f"Give one of: {names}")]
    if target_index(case.target, outputs) is None:
        return [
            Fault(case.name, "target", None, f"'{printable(case.target)}' is no class of the task",
                  f"Give one of: {names}")
        ]  # fmt: skip
    return []


_DAMAGED = (
    OSError, EOFError, ValueError, zlib.error, struct.error, gzip.BadGzipFile,
    ImageFileError, HeaderDataError,
)  # fmt: skip


def _damaged(error: Exception) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return "there is no such file", "Correct the path, or give its root"
    if isinstance(error, PermissionError):
        return "it may not be read", "Correct its permissions"
    if isinstance(error, EOFError):
        return "ends before its last voxel", "Copy the file again, whole"
    return f"cannot be read as NIfTI ({type(error).__name__})", "Give a whole NIfTI file"


def _read_header(file: Path) -> _Header:
    """The header of a whole, three-dimensional NIfTI file.

    Raises:
        _Unusable: anything else.
    """
    try:
        image: Any = nib.load(file)
        shape = tuple(int(n) for n in image.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        affine = np.asarray(image.affine, dtype=np.float64)
        promised = int(image.dataobj.offset) + int(np.prod(shape)) * image.get_data_dtype().itemsize
        whole = _is_whole(file, promised)
    except _DAMAGED as error:
        raise _Unusable(*_damaged(error)) from None
    if not whole:
        raise _Unusable("ends before its last voxel", "Copy the file again, whole")
    if len(shape) != 3 or min(shape) < 2:
        raise _Unusable(
            f"has the dimensions {_size(shape)}, which are no volume",
            "Give one three-dimensional volume a modality; extract the one you mean",
        )
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise _Unusable("has a singular affine", "Repair its sform or qform")
    turn = io_orientation(affine)
    canonical = tuple(shape[int(axis)] for axis in np.argsort(turn[:, 0]))
    return _Header(canonical, affine @ inv_ornt_aff(turn, shape))


def _is_whole(file: Path, promised: int) -> bool:
    """Whether a file holds as many bytes as its header promises.

    A gzip file ends with its content's length, modulo 2³²; only where that disagrees, as in a cut
    file or one of several members, is everything unpacked.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        if opened.read(2) != b"\x1f\x8b":
            return size >= promised
        opened.seek(-4, 2)
        (length,) = struct.unpack("<I", opened.read(4))
    if promised % 2**32 == length:
        return True
    with gzip.open(file, "rb") as unpacked:
        total = 0
        while piece := unpacked.read(1 << 22):
            total += len(piece)
    return total >= promised


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
