"""Studies prepared for training: as the service prepares them, by MONAI's transforms, kept on disk.

Per channel ``(x - p5) / (p95 - p5)`` over the whole native volume, then R-A-S, 1 mm or the task's
spacing, then the box of voxels above zero in any channel. The service's own preprocessing equals
this to float32 rounding, as its tests prove, so a network is trained on what it will be given.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CropForegroundd,
    Orientationd,
    ScaleIntensityRangePercentilesd,
    Spacingd,
)
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing
from brainmvp_training.case import Case

_IMAGE, _LABEL, _MARKED, _PLACE = "image.npy", "label.npy", "marked.npy", "place.json"
_LESION_VOXELS = 4096
_ABOVE_ZERO = 0.0


@dataclass(frozen=True, eq=False)
class PreparedStudy:
    """One study in model space, read from disk where it is touched.

    It keeps no file open: a list may hold more studies than a process may open files.

    Attributes:
        name: the case's.
        folder: where its arrays lie.
        modalities: of the image's channels.
        shape: voxels along R, A and S.
        target: the class as the datalist gives it, or None.
        marked: up to 4096 voxels (N, 3) whose label is not 0, to centre windows on.
        full: voxels of model space before the crop.
        start: the crop's first voxel in it.
    """

    name: str
    folder: Path
    modalities: tuple[Modality, ...]
    shape: tuple[int, int, int]
    target: str | None
    marked: NDArray[np.int16]
    full: tuple[int, int, int]
    start: tuple[int, int, int]

    @property
    def image(self) -> NDArray[np.float16]:
        """(M, X, Y, Z), R-A-S, cropped to the foreground; open as long as it is held."""
        image: NDArray[np.float16] = np.load(self.folder / _IMAGE, mmap_mode="r")
        return image

    @property
    def label(self) -> NDArray[np.uint8]:
        """(X, Y, Z); a study that was prepared without a mask has none."""
        label: NDArray[np.uint8] = np.load(self.folder / _LABEL, mmap_mode="r")
        return label


def prepare_studies(
    cases: Sequence[Case],
    preprocessing: Preprocessing,
    cache: Path,
    *,
    threads: int = 2,
    on_study: Callable[[], None] = lambda: None,
) -> tuple[PreparedStudy, ...]:
    """Prepare what the cache does not hold yet; an entry lives until its files change.

    Raises:
        InvalidDatalist: a study that holds no image, or voxels that are no numbers, by name.
    """
    cache.mkdir(parents=True, exist_ok=True)

    def prepare(case: Case) -> PreparedStudy:
        folder = cache / _key(case, preprocessing)
        if not folder.is_dir():
            _write(case, preprocessing, folder)
        on_study()
        return _open(case, folder)

    with ThreadPoolExecutor(threads) as pool:
        return tuple(pool.map(prepare, cases))


def material_of(studies: Sequence[PreparedStudy], batch: int, per_study: int) -> str:
    """What a run's batches are made of, so that another is not taken for it."""
    names = "\0".join(study.name for study in studies)
    return f"{batch} {per_study} {hashlib.sha256(names.encode()).hexdigest()}"


def _key(case: Case, preprocessing: Preprocessing) -> str:
    """A digest of the files' names, sizes and times, of the channels' order and preprocessing."""
    files = [*case.images.values()] + ([case.label] if case.label else [])
    facts: list[object] = [preprocessing.model_dump(mode="json"), list(case.images)]
    for file in files:
        status = file.stat()
        facts.append((str(file.resolve()), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _write(case: Case, preprocessing: Preprocessing, folder: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    try:
        prepared = _transforms(case, preprocessing)(_loaded(case))
        np.save(aside / _IMAGE, _half(case, prepared["image"].as_tensor().numpy()))
        marked = np.zeros((0, 3), np.int16)
        if case.label is not None:
            label = np.rint(prepared["label"].as_tensor().numpy()[0]).astype(np.uint8)
            np.save(aside / _LABEL, label)
            marked = _sample(np.argwhere(label > 0).astype(np.int16))
        np.save(aside / _MARKED, marked)
        start = [int(n) for n in prepared["foreground_start_coord"]]
        full = [int(n) for n in prepared["full"]]
        (aside / _PLACE).write_text(json.dumps({"full": full, "start": start}))
        aside.replace(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _half(case: Case, image: NDArray[np.float32]) -> NDArray[np.float16]:
    """The scaled image (M, X, Y, Z) as it is stored, in half the bytes."""
    if image.size == 0:
        raise InvalidDatalist(
            f"{case.name}: no voxel is brighter than the background",
            remedy="Leave the case out, or give scans that hold an image",
        )
    with np.errstate(over="ignore"):
        half = image.astype(np.float16)
    for modality, channel in zip(case.images, half, strict=True):
        if not np.isfinite(channel).all():
            raise InvalidDatalist(
                f"{case.name}, {modality}: a voxel is more than 65,504 times as bright as its "
                "percentiles are apart",
                remedy="Crop the scans to the head, or leave the case out",
            )
    return half


def _open(case: Case, folder: Path) -> PreparedStudy:
    place = json.loads((folder / _PLACE).read_text())
    x, y, z = np.load(folder / _IMAGE, mmap_mode="r").shape[1:]
    return PreparedStudy(
        name=case.name,
        folder=folder,
        modalities=tuple(case.images),
        shape=(x, y, z),
        target=case.target,
        marked=np.load(folder / _MARKED),
        full=tuple(place["full"]),
        start=tuple(place["start"]),
    )


def _loaded(case: Case) -> dict[str, MetaTensor]:
    """The case's scans as one (M, X, Y, Z) stack, and its label, on their native grid.

    Axes are turned to R, A, S first: two files of one grid may store them in another order.
    """
    files = {"image": list(case.images.values())}
    if case.label is not None:
        files["label"] = [case.label]
    data = {}
    for key, paths in files.items():
        images: list[Any] = [nib.as_closest_canonical(nib.load(path)) for path in paths]
        volumes = [np.asarray(image.dataobj, np.float32) for image in images]
        stack = np.stack([volume.reshape(volume.shape[:3]) for volume in volumes])
        if key == "image":
            _check_voxels(case, stack)
        data[key] = MetaTensor(torch.from_numpy(stack), affine=torch.from_numpy(images[0].affine))
    return data


def _check_voxels(case: Case, stack: NDArray[np.float32]) -> None:
    """Refuse what the service refuses."""
    for modality, volume in zip(case.images, stack, strict=True):
        low, high = volume.min(), volume.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            problem, remedy = "holds NaN or infinite voxels", "Replace them, for example by 0"
        elif low == high:
            problem, remedy = "all its voxels have one value", "Give a scan that holds an image"
        else:
            continue
        raise InvalidDatalist(f"{case.name}, {modality}: {problem}", remedy=remedy)


def _transforms(case: Case, preprocessing: Preprocessing) -> Compose:
    keys = ["image", "label"] if case.label is not None else ["image"]
    modes = ["bilinear", "nearest"][: len(keys)]
    low, high = preprocessing.percentiles
    return Compose(
        [
            ScaleIntensityRangePercentilesd("image", low, high, 0, 1, channel_wise=True),
            Orientationd(keys, axcodes=preprocessing.orientation, labels=None),
            Spacingd(keys, pixdim=preprocessing.spacing_mm, mode=modes),
            _with_full_shape,
            CropForegroundd(
                keys,
                source_key="image",
                select_fn=_foreground,
                margin=preprocessing.crop_margin,
                allow_smaller=True,
            ),
        ]
    )


def _with_full_shape(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "full": tuple(data["image"].shape[1:])}


def _foreground(image: torch.Tensor) -> torch.Tensor:
    return image > _ABOVE_ZERO


def _sample(voxels: NDArray[np.int16]) -> NDArray[np.int16]:
    if len(voxels) <= _LESION_VOXELS:
        return voxels
    return voxels[np.random.default_rng(0).choice(len(voxels), _LESION_VOXELS, replace=False)]
