"""The bundles that find brains, as they are made from deepbet's wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from brainmvp_export.brain.build import build, write_forms
from brainmvp_export.brain.linknet import BrainLogit, LinkNet3d, loaded
from brainmvp_export.parity import logits_in
from brainmvp_models.errors import InvalidCheckpoint
from brainmvp_models.task import Window
from brainmvp_server.inference.engines import EngineOptions


@pytest.fixture(scope="module")
def network() -> LinkNet3d:
    torch.manual_seed(0)
    return LinkNet3d().eval()


def test_one_logit_says_what_the_softmax_of_two_classes_does(network: LinkNet3d) -> None:
    image = torch.rand(1, 1, 64, 64, 32)
    with torch.inference_mode():
        share = network(image).softmax(dim=1)[:, 1:]
        served = BrainLogit(network).eval()(image).sigmoid()
    assert served.shape == image.shape
    assert (served - share).abs().max() < 1e-5


def test_what_is_served_leaves_the_trained_network_as_it_was(network: LinkNet3d) -> None:
    before = [type(module) for module in network.modules()]
    BrainLogit(network)
    assert [type(module) for module in network.modules()] == before


def test_the_engine_torch_computes_what_the_others_do(network: LinkNet3d, tmp_path: Path) -> None:
    window = Window(size=(64, 64, 32), overlap=0)
    forms = write_forms(BrainLogit(network).eval(), window, tmp_path, program=True)
    image = np.random.default_rng(0).random((1, 1, *window.size), np.float32)
    one, other = (
        logits_in(forms, name, image, EngineOptions()) for name in ("torch-cpu", "openvino")
    )
    assert np.abs(one - other).max() < 1e-3 * other.std()


def test_weights_that_do_not_fit_are_refused(network: LinkNet3d) -> None:
    weights = network.state_dict()
    weights.pop("up3.conv2.0.weight")
    with pytest.raises(RuntimeError, match=r"up3\.conv2\.0\.weight"):
        loaded(weights)


def test_another_wheel_is_refused_before_its_programs_are_loaded(tmp_path: Path) -> None:
    wheel = tmp_path / "deepbet-1.0.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("data/models/bbox_model.pt", b"something else")
    with pytest.raises(InvalidCheckpoint, match=r"does not hold the data/models/bbox_model\.pt"):
        build(wheel, [], tmp_path / "out", "")
    assert not (tmp_path / "out").exists()
