"""The rewritten network equals the trained one, step by step and as a whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from brainmvp_export.rewrite import (
    AxisNorm,
    HalfPrecision,
    TokenNorm,
    fold_into_1,
    fold_into_3,
    instance_norm,
    rewritten,
)
from brainmvp_training.networks import TINY, ClassificationNetwork, SegmentationNetwork

Weights = Callable[[nn.Module], dict[str, torch.Tensor]]

widths = st.integers(1, 4)
edges = st.tuples(*[st.integers(1, 5)] * 3)
seeds = st.integers(0, 2**31)
few = settings(max_examples=25, deadline=None)


@few
@given(entry=widths, middle=widths, out=widths, edge=edges, seed=seeds)
def test_kernel_of_4_equals_up_convolution_then_convolution_of_3(
    entry: int, middle: int, out: int, edge: tuple[int, int, int], seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, entry, *edge, generator=rng)
    up = torch.randn(entry, middle, 2, 2, 2, generator=rng)
    conv = torch.randn(out, middle, 3, 3, 3, generator=rng)
    two = F.conv3d(F.conv_transpose3d(x, up, stride=2), conv, padding=1)
    one = F.conv_transpose3d(x, fold_into_3(up, conv), stride=2, padding=1)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@few
@given(entry=widths, middle=widths, out=widths, edge=edges, seed=seeds)
def test_kernel_of_2_equals_up_convolution_then_convolution_of_1(
    entry: int, middle: int, out: int, edge: tuple[int, int, int], seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, entry, *edge, generator=rng)
    up = torch.randn(entry, middle, 2, 2, 2, generator=rng)
    conv = torch.randn(out, middle, 1, 1, 1, generator=rng)
    two = F.conv3d(F.conv_transpose3d(x, up, stride=2), conv)
    one = F.conv_transpose3d(x, fold_into_1(up, conv), stride=2)
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@pytest.fixture(params=[SegmentationNetwork, ClassificationNetwork])
def trained(request: pytest.FixtureRequest, golden_weights: Weights) -> nn.Module:
    network: nn.Module = request.param(TINY, 3, 4).eval()
    network.load_state_dict(golden_weights(network))
    return network


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference over the deviation."""
    assert one.shape == other.shape
    return float((one - other).abs().max() / other.std())


@pytest.mark.parametrize("shape", [(2, 3, 32, 32, 32), (1, 3, 32, 80, 48), (1, 3, 96, 16, 64)])
def test_rewritten_network_equals_the_trained_one(
    trained: nn.Module, shape: tuple[int, ...]
) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert _apart(rewritten(trained)(image), trained(image)) < 1e-5


def test_rewriting_leaves_the_trained_network_as_it_was(trained: nn.Module) -> None:
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    serving = rewritten(trained)
    with torch.no_grad():
        for parameter in serving.parameters():
            parameter.add_(1)
    after = trained.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_rewritten_network_is_in_evaluation_mode(trained: nn.Module) -> None:
    assert not any(module.training for module in rewritten(trained.train()).modules())


def test_network_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="no rewrite for Linear"):
        rewritten(nn.Linear(1, 1))


def _mostly_background(edge: int) -> torch.Tensor:
    """One volume, constant but for an eighth in its middle, as the feature of a brain is."""
    x = torch.full((1, 1, edge, edge, edge), 0.737)
    middle = slice(edge // 4, 3 * edge // 4)
    inside = x[:, :, middle, middle, middle]
    inside += torch.randn(inside.shape, generator=torch.Generator().manual_seed(2))
    return x


def _reference_norm(x: torch.Tensor) -> torch.Tensor:
    return F.instance_norm(x.double())


def test_instance_norm_keeps_its_precision_on_a_large_background() -> None:
    x = _mostly_background(96)
    assert (instance_norm(x).double() - _reference_norm(x)).abs().max() < 1e-5


def test_one_running_float32_sum_would_lose_that_precision() -> None:
    x = _mostly_background(96)
    values = x.numpy().ravel()
    mean = np.add.accumulate(values)[-1] / np.float32(values.size)
    centred = values - mean
    variance = np.add.accumulate(centred * centred)[-1] / np.float32(values.size)
    naive = torch.from_numpy(centred / np.sqrt(variance + np.float32(1e-5))).reshape(x.shape)
    assert (naive.double() - _reference_norm(x)).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(8, 8, 8), (28, 28, 28), (36, 40, 44), (24, 30, 33)])
def test_instance_norm_holds_for_axes_that_are_no_multiple_of_8(
    shape: tuple[int, int, int],
) -> None:
    ramp = torch.linspace(0, 3, shape[0]).reshape(1, 1, -1, 1, 1)
    x = ramp + torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(3))
    assert (instance_norm(x).double() - _reference_norm(x)).abs().max() < 1e-5


def test_half_precision_holds_float16_weights_and_float32_norms(trained: nn.Module) -> None:
    half = HalfPrecision(rewritten(trained))
    products, norms = set(), set()
    for module in half.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
            products |= {parameter.dtype for parameter in module.parameters(recurse=False)}
        elif isinstance(module, AxisNorm | TokenNorm | nn.BatchNorm3d):
            norms |= {parameter.dtype for parameter in module.parameters(recurse=False)}
    assert products == {torch.float16}
    assert norms == {torch.float32}


def test_half_precision_is_near_the_trained_network_and_answers_in_float32(
    trained: nn.Module,
) -> None:
    image = torch.rand(1, 3, 32, 48, 32, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        exact = trained(image)
        logits = HalfPrecision(rewritten(trained)).eval()(image)
    assert logits.dtype == torch.float32
    assert 0 < (logits - exact).abs().max() < 5e-2 * max(float(exact.std()), 0.1)
