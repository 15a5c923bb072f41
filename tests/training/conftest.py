"""A tiny network, and small synthetic studies of a real brain at a third of its resolution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from brainmvp_models.modality import Modality
from brainmvp_training.networks import TINY, SegmentationNetwork
from brainmvp_training.synthetic.anatomy import Anatomy, from_t1
from brainmvp_training.synthetic.synthetic_study import Recipe
from brainmvp_training.synthetic.writing import SynthesisOptions, write_studies

State = dict[str, torch.Tensor]
MODALITIES = (Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR)


@pytest.fixture(scope="session")
def small_t1(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third voxel of Colin27, called 1 mm, so that tests are quick."""
    voxels = np.asarray(nib.load(colin27).dataobj)[::3, ::3, ::3]
    path = tmp_path_factory.mktemp("anatomy") / "t1.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return path


@pytest.fixture(scope="session")
def small_anatomy(small_t1: Path) -> Anatomy:
    return from_t1(small_t1)


@pytest.fixture(scope="session")
def small_studies(small_t1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datalist of four training and two validation studies of four modalities."""
    out = tmp_path_factory.mktemp("studies")
    recipe = Recipe(MODALITIES, healthy=0, enhancing=0.5, air=0)
    for section, count in (("training", 4), ("validation", 2)):
        options = SynthesisOptions(out, section, count, recipe, seed=3, anatomy=small_t1)
        path = write_studies(options, processes=1, on_study=lambda: None)
    return path


@pytest.fixture(scope="session")
def _tiny_state(golden_weights: Callable[[torch.nn.Module], State]) -> State:
    return golden_weights(SegmentationNetwork(TINY, 4, 3))


@pytest.fixture
def tiny_state(_tiny_state: State) -> State:
    """A state dict of the tiny segmentation network that a test may change."""
    return dict(_tiny_state)
