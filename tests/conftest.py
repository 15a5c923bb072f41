"""Fixtures that more than one component's tests need."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from once import Once

if TYPE_CHECKING:
    import torch

pytest_plugins = ["run_rules"]
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes what takes long once for all workers of a run."""
    return Once(tmp_path_factory.getbasetemp())


# torch takes seconds to import: only where a test needs it.
@pytest.fixture(scope="session")
def golden_weights() -> Callable[[torch.nn.Module], dict[str, torch.Tensor]]:
    """Gives a network weights that anyone can regenerate."""
    import golden_networks

    return golden_networks.golden_weights


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """What the published network gives on ``golden_weights`` and ``golden_image``."""
    folder = ROOT / "tests" / "training" / "networks" / "golden"
    with np.load(folder / "segmentation_c4_o3.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def golden_image() -> torch.Tensor:
    """The golden values' input, (1, 4, 96, 96, 96)."""
    import golden_networks

    return golden_networks.golden_image()


@pytest.fixture(scope="session")
def colin27() -> Path:
    """A real T1 scan, brain extracted, 181 x 217 x 181 voxels of 1 mm."""
    return ROOT / "examples" / "colin27" / "colin27_t1.nii.gz"


@pytest.fixture(scope="session")
def bundles() -> Path:
    """The model folder that ships with the repository."""
    return ROOT / "examples" / "bundles"


@pytest.fixture(scope="session")
def tiny_checkpoint(once: Once) -> Path:
    """A fine-tuned file of the tiny network: four channels, three regions, golden weights."""

    def make(folder: Path) -> None:
        import golden_networks

        golden_networks.save_segmentation(folder / "tiny.pt")

    return once("tiny-checkpoint", make) / "tiny.pt"


@pytest.fixture(scope="session")
def tiny_bundle(once: Once, tiny_checkpoint: Path) -> Bundle:
    """The tiny checkpoint, exported for task upenn-gbm without templates."""

    def make(folder: Path) -> None:
        import golden_networks

        golden_networks.export_tiny(tiny_checkpoint, folder, "upenn-gbm", "tiny")

    return Bundle.open(once("tiny-bundle", make) / "tiny" / "1")


@pytest.fixture(scope="session")
def coarse_bundle(once: Once, tiny_bundle: Bundle) -> Bundle:
    """The tiny bundle with voxels of 2 mm, and without small parts.

    A whole head is two windows instead of thirty, and the noise that a network of random weights
    answers with is a few parts: for tests of what is around the network.
    """

    def make(folder: Path) -> None:
        root = folder / "tiny" / "1"
        shutil.copytree(tiny_bundle.root, root)
        preprocessing = tiny_bundle.task.preprocessing.model_copy(
            update={"spacing_mm": (2.0, 2.0, 2.0)}
        )
        outputs = tiny_bundle.task.outputs.model_copy(update={"smallest_ml": 5.0})
        task = tiny_bundle.task.model_copy(
            update={"preprocessing": preprocessing, "outputs": outputs}
        )
        manifest = tiny_bundle.manifest.model_copy(update={"task": task})
        (root / "manifest.json").write_text(manifest.model_dump_json())

    return Bundle.open(once("coarse-bundle", make) / "tiny" / "1")


@pytest.fixture(scope="session")
def grade_bundle(once: Once, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny classification network with golden weights, exported for task brats18-grade."""

    def make(folder: Path) -> None:
        import golden_networks

        checkpoint = tmp_path_factory.mktemp("checkpoint") / "grade.pt"
        golden_networks.save_classification(checkpoint)
        golden_networks.export_tiny(checkpoint, folder, "brats18-grade", "grade")

    return Bundle.open(once("grade-bundle", make) / "grade" / "1")


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
