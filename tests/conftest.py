"""Fixtures that more than one component's tests need."""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from brainmvp_export.export import Order, export_bundle
from brainmvp_models.bundle import Bundle
from brainmvp_models.networks import TINY, ClassificationNetwork, SegmentationNetwork
from brainmvp_models.task import load_task

ROOT = Path(__file__).parents[1]


def golden_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights that anyone can regenerate: one random stream a key, seeded by the key's name."""
    state = {}
    for key, tensor in network.state_dict().items():
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        n = rng.standard_normal(tuple(tensor.shape)).astype(np.float32)
        if key.endswith("num_batches_tracked"):
            value = np.zeros(tensor.shape, np.int64)
        elif key.endswith("running_var"):
            value = 0.8 + 0.2 * np.abs(n)
        elif key.endswith("running_mean"):
            value = 0.1 * n
        elif tensor.ndim == 1:
            value = 1 + 0.1 * n if key.endswith("weight") else 0.1 * n
        else:
            value = n / np.sqrt(np.prod(tensor.shape[1:]))
        state[key] = torch.as_tensor(value).to(tensor.dtype)
    return state


@pytest.fixture(scope="session", name="golden_weights")
def _golden_weights() -> Callable[[torch.nn.Module], dict[str, torch.Tensor]]:
    """:func:`golden_weights`, for tests."""
    return golden_weights


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """What the published network gives on :func:`golden_weights` and ``golden_image``."""
    folder = ROOT / "tests" / "models" / "networks" / "golden"
    with np.load(folder / "segmentation_c4_o3.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def golden_image() -> torch.Tensor:
    """The golden values' input, (1, 4, 96, 96, 96)."""
    c, i, j, k = np.ogrid[:4, :96, :96, :96]
    wave = np.sin(0.07 * (c + 1) * i + 0.05 * j) * np.cos(0.03 * k + 0.011 * c * j)
    return torch.from_numpy((0.5 + 0.5 * wave).astype(np.float32)[np.newaxis])


@pytest.fixture(scope="session")
def colin27() -> Path:
    """A real T1 scan, brain extracted, 181 x 217 x 181 voxels of 1 mm."""
    return ROOT / "examples" / "colin27" / "colin27_t1.nii.gz"


@pytest.fixture(scope="session")
def bundles() -> Path:
    """The model folder that ships with the repository."""
    return ROOT / "examples" / "bundles"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned file of the tiny network: four channels, three regions, golden weights."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    state = golden_weights(SegmentationNetwork(TINY, 4, 3))
    torch.save({"epoch": 1, "state_dict": state, "optimizer": {}, "scheduler": {}}, path)
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny checkpoint, exported for task upenn-gbm without templates."""
    return export_bundle(
        Order(
            checkpoint=tiny_checkpoint,
            out=tmp_path_factory.mktemp("bundles"),
            task=load_task("upenn-gbm"),
            name="tiny",
            version="1",
        )
    )


@pytest.fixture(scope="session")
def grade_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny classification network with golden weights, exported for task brats18-grade."""
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "grade.pt"
    torch.save({"state_dict": golden_weights(ClassificationNetwork(TINY, 4, 2))}, checkpoint)
    out = tmp_path_factory.mktemp("bundles")
    return export_bundle(Order(checkpoint, out, load_task("brats18-grade"), "grade", "1"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Finds a folder of real scans, such as ``dicom``, beside the project's own: ``../shared``.

    They are not the project's to give away. Where they are not there the test is skipped; with
    CI=true it fails, so that nothing is missed.
    """

    def find(name: str) -> Path:
        folder = ROOT.parent / "shared" / name
        if folder.is_dir():
            return folder
        message = f"the real scans of ../shared/{name} are not here"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)

    return find


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """Finds a program that a test starts for real, such as ``Orthanc``.

    Where it is not installed the test is skipped; with CI=true it fails, so that nothing is missed.
    """

    def find(name: str) -> Path:
        here = str(Path(sys.executable).parent)
        path = os.pathsep.join([here, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        found = shutil.which(name, path=path)
        if found is not None:
            return Path(found)
        message = f"{name} is not installed: make system"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)

    return find
