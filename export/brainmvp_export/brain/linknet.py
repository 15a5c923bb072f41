"""The network of deepbet, written so that its TorchScript weights fit by name.

A residual encoder of four stages and a decoder that adds what the encoder saw (LinkNet, Chaurasia
and Culurciello 2017, in three dimensions). Every norm is an instance norm without weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from brainmvp_export.rewrite import instance_norm


class LinkNet3d(nn.Module):
    """Image (N, 1, h, w, d) in, edges multiples of 32; two logits (N, 2, h, w, d) out."""

    def __init__(self) -> None:
        super().__init__()
        norm, relu = nn.InstanceNorm3d, nn.ReLU
        self.init = nn.Sequential(
            nn.Conv3d(1, 16, 7, stride=2, padding=3, bias=False),
            norm(16),
            relu(),
            nn.MaxPool3d(3, stride=2, padding=1),
        )
        self.down0 = Down(16, 16, stride=1)
        self.down1 = Down(16, 32, stride=2)
        self.down2 = Down(32, 64, stride=2)
        self.down3 = Down(64, 128, stride=2)
        self.up0 = Up(128, 64, stride=2)
        self.up1 = Up(64, 32, stride=2)
        self.up2 = Up(32, 16, stride=2)
        self.up3 = Up(16, 16, stride=1)
        self.tp_conv1 = nn.Sequential(
            nn.ConvTranspose3d(16, 8, 3, stride=2, padding=1, output_padding=1), norm(8), relu()
        )
        self.conv = nn.Sequential(nn.Conv3d(8, 8, 3, padding=1), norm(8), relu())
        self.tp_conv2 = nn.ConvTranspose3d(8, 2, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        first = self.init(image)
        zero = self.down0(first)
        one = self.down1(zero)
        two = self.down2(one)
        x = self.up0(self.down3(two)) + two
        x = self.up1(x) + one
        x = self.up2(x) + zero
        x = self.up3(x) + first
        return self.tp_conv2(self.conv(self.tp_conv1(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two convolutions beside a path that skips them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.InstanceNorm3d(outputs),
            nn.ReLU(),
            nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
            nn.InstanceNorm3d(outputs),
        )
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, stride=stride, bias=False), nn.InstanceNorm3d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.double_conv(x) + self.downsample(x))


class Down(nn.Module):
    """A stage of the encoder."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.block1 = Block(inputs, outputs, stride)
        self.block2 = Block(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.block2(self.block1(x))  # type: ignore[no-any-return]


class Up(nn.Module):
    """A stage of the decoder."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        middle = inputs // 4
        self.conv1 = nn.Sequential(
            nn.Conv3d(inputs, middle, 1, bias=False), nn.InstanceNorm3d(middle), nn.ReLU()
        )
        self.tp_conv = nn.Sequential(
            nn.ConvTranspose3d(
                middle,
                middle,
                3,
                stride=stride,
                padding=1,
                output_padding=stride - 1,
                bias=False,
            ),
            nn.InstanceNorm3d(middle),
            nn.ReLU(),
        )
        self.conv2 = nn.Sequential(
            nn.Conv3d(middle, outputs, 1, bias=False), nn.InstanceNorm3d(outputs), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.tp_conv(self.conv1(x)))  # type: ignore[no-any-return]


def loaded(weights: Mapping[str, Tensor]) -> LinkNet3d:
    """The network with these weights, in evaluation mode.

    Raises:
        RuntimeError: they do not fit by name and shape.
    """
    network = LinkNet3d()
    network.load_state_dict(dict(weights))
    return network.eval()


class BlockNorm(nn.Module):
    """An instance norm whose means runtimes sum exactly enough."""

    def forward(self, x: Tensor) -> Tensor:
        return instance_norm(x)


class BrainLogit(nn.Module):
    """What is served: one logit (N, 1, h, w, d) whose sigmoid is the softmax's share of the brain.

    Args:
        network: is not touched.
    """

    def __init__(self, network: LinkNet3d) -> None:
        super().__init__()
        network = copy.deepcopy(network)
        _replace_norms(network)
        last = network.tp_conv2
        single = nn.ConvTranspose3d(8, 1, 2, stride=2)
        assert last.bias is not None and single.bias is not None
        with torch.no_grad():
            single.weight.copy_(last.weight[:, 1:] - last.weight[:, :1])
            single.bias.copy_(last.bias[1:] - last.bias[:1])
        network.tp_conv2 = single
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)  # type: ignore[no-any-return]


def _replace_norms(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.InstanceNorm3d):
            setattr(module, name, BlockNorm())
        else:
            _replace_norms(child)
