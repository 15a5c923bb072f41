"""The networks against the published one: keys, sizes, golden values."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from brainmvp_training.networks import RELEASED, TINY, ClassificationNetwork, SegmentationNetwork
from brainmvp_training.networks.uniformer import pooled

Weights = Callable[[torch.nn.Module], dict[str, torch.Tensor]]


@pytest.fixture(scope="session")
def released(golden_weights: Weights) -> SegmentationNetwork:
    network = SegmentationNetwork(RELEASED, 4, 3).eval()
    network.load_state_dict(golden_weights(network))
    return network


@pytest.fixture(scope="session")
def outcome(
    released: SegmentationNetwork, golden_image: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and the deepest feature, of one pass."""
    with torch.inference_mode():
        features = released.encoder(golden_image)
        return released.decoder(features), features[-1]


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _pattern(network: torch.nn.Module) -> set[str]:
    return {re.sub(r"(blocks\d)\.\d+\.", r"\1.N.", key) for key in network.state_dict()}


def test_released_network_has_the_355_keys_of_a_published_checkpoint(
    released: SegmentationNetwork,
) -> None:
    shapes = {key: tuple(value.shape) for key, value in released.state_dict().items()}
    assert len(shapes) == 355
    assert shapes["encoder.patch_embed1.proj.weight"] == (64, 4, 2, 2, 2)
    assert shapes["encoder.patch_embed1.norm.weight"] == (64,)
    assert shapes["encoder.blocks3.7.attn.qkv.bias"] == (960,)
    assert shapes["decoder.decoder5.transp_conv.conv.weight"] == (512, 320, 2, 2, 2)
    assert shapes["decoder.decoder2.conv_block.conv3.conv.weight"] == (64, 128, 1, 1, 1)
    assert shapes["decoder.proj1.proj.weight"] == (64, 4, 3, 3, 3)
    assert shapes["decoder.out.conv.conv.weight"] == (3, 64, 1, 1, 1)
    assert shapes["ms_out.0.weight"] == (3, 128, 1, 1, 1)
    assert shapes["ms_out.1.weight"] == (3, 64, 1, 1, 1)


def test_released_encoder_has_22_and_decoder_12_3_million_parameters(
    released: SegmentationNetwork,
) -> None:
    assert round(_parameters(released.encoder) / 1e6, 1) == 22.0
    assert round(_parameters(released.decoder) / 1e6, 1) == 12.3


def test_logits_equal_the_published_networks(
    outcome: tuple[torch.Tensor, torch.Tensor], golden: dict[str, np.ndarray]
) -> None:
    logits = outcome[0].numpy()
    deviation = float(golden["logits_std"])
    assert logits.shape == (1, 3, 96, 96, 96)
    assert np.abs(logits[0, :, ::8, ::8, ::8] - golden["logits"]).max() < 1e-4 * deviation
    assert abs(logits.mean(dtype=np.float64) - golden["logits_mean"]) < 1e-4 * deviation
    assert abs(logits.std(dtype=np.float64) - deviation) < 1e-4 * deviation


def test_deepest_feature_equals_the_published_networks(
    outcome: tuple[torch.Tensor, torch.Tensor], golden: dict[str, np.ndarray]
) -> None:
    feature = outcome[1].numpy()
    allowed = 1e-4 * float(golden["logits_std"])
    assert feature.shape == (1, 512, 6, 6, 6)
    assert np.abs(feature[0, ::16] - golden["stage4"]).max() < allowed
    pool = pooled(outcome[1])[0].numpy()
    assert np.abs(pool - golden["stage4_pooled"]).max() < allowed


def test_tiny_network_has_about_a_million_parameters() -> None:
    assert 0.7e6 < _parameters(SegmentationNetwork(TINY, 4, 3)) < 1.5e6


def test_tiny_and_released_share_their_key_pattern(released: SegmentationNetwork) -> None:
    assert _pattern(SegmentationNetwork(TINY, 4, 3)) == _pattern(released)


def test_classification_gives_one_score_a_class_under_the_head_keys() -> None:
    network = ClassificationNetwork(TINY, 2, 5).eval()
    keys = set(network.state_dict())
    assert {key for key in keys if not key.startswith("encoder.")} == {"head.weight", "head.bias"}
    with torch.inference_mode():
        assert network(torch.rand(3, 2, 32, 16, 48)).shape == (3, 5)


def test_window_with_three_different_axes_keeps_its_axes() -> None:
    network = SegmentationNetwork(TINY, 2, 3).eval()
    with torch.inference_mode():
        features = network.encoder(torch.rand(1, 2, 32, 48, 64))
        assert features[1].shape[2:] == (32, 16, 24)
        assert network.decoder(features).shape == (1, 3, 32, 48, 64)
