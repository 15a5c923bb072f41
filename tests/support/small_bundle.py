"""A small exported bundle that the tests of export and of evaluation look at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from brainmvp_export.export import ExportOptions, export_bundle
from brainmvp_export.parity import Array, real_windows
from brainmvp_export.reference import logits_of
from brainmvp_models.bundle import Bundle
from brainmvp_models.task import Task, Window, load_task
from brainmvp_models.templates import TemplateBank
from brainmvp_training.checkpoint import load_network, read_checkpoint
from once import Once


@pytest.fixture(scope="session")
def small_task() -> Task:
    """UPENN-GBM with a window of three different, small axes."""
    return load_task("upenn-gbm").model_copy(update={"window": Window(size=(32, 48, 64))})


@pytest.fixture(scope="session")
def small_network(tiny_checkpoint: Path, small_task: Task) -> torch.nn.Module:
    return load_network(read_checkpoint(tiny_checkpoint), small_task)


@pytest.fixture(scope="session")
def small_bundle(once: Once, tiny_checkpoint: Path, small_task: Task) -> Bundle:
    """The tiny checkpoint, exported for ``small_task``."""

    def make(folder: Path) -> None:
        export_bundle(
            ExportOptions(
                tiny_checkpoint, folder, small_task, "small", "1", program=True, command="test"
            )
        )

    return Bundle.open(once("small-bundle", make) / "small" / "1")


@pytest.fixture(scope="session")
def windows(small_task: Task) -> Array:
    """Two windows of the packaged scan."""
    return real_windows(small_task, TemplateBank({}), None)


@pytest.fixture(scope="session")
def expected(small_network: torch.nn.Module, windows: Array) -> Array:
    """What the checkpoint itself makes of ``windows``."""
    return logits_of(small_network, windows)
