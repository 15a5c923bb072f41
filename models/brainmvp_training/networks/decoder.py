"""The UNETR-style decoder of BrainMVP.

After Hatamizadeh et al., "UNETR: Transformers for 3D Medical Image Segmentation" (arXiv
2103.10504), with residual up blocks. Parameter names are those that MONAI's ``UnetrUpBlock``
gives, so published checkpoints load as they are; the code here is our own, which lets the export
rewrite it without knowing MONAI.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainmvp_training.networks.uniformer import ChannelNorm

LEAK = 0.01
"""Negative slope of every LeakyReLU in the decoder."""


class NamedConv(nn.Module):
    """One convolution under the name ``conv``, as the checkpoint's keys have it."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two 3³ convolutions and a 1³ shortcut, instance-normalised: (B, in, …) to (B, out, …)."""

    def __init__(self, entry: int, width: int) -> None:
        super().__init__()
        self.conv1 = NamedConv(nn.Conv3d(entry, width, 3, padding=1, bias=False))
        self.conv2 = NamedConv(nn.Conv3d(width, width, 3, padding=1, bias=False))
        self.conv3 = NamedConv(nn.Conv3d(entry, width, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.leaky_relu(F.instance_norm(self.conv1(x)), LEAK)
        hidden = F.instance_norm(self.conv2(hidden))
        return F.leaky_relu(hidden + F.instance_norm(self.conv3(x)), LEAK)


class UpBlock(nn.Module):
    """Double every axis, join the skip, refine."""

    def __init__(self, entry: int, width: int) -> None:
        super().__init__()
        self.transp_conv = NamedConv(nn.ConvTranspose3d(entry, width, 2, stride=2, bias=False))
        self.conv_block = ResidualBlock(2 * width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``x`` (B, entry, h, w, d) and ``skip`` (B, width, 2h, 2w, 2d) to the skip's shape."""
        return self.conv_block(torch.cat((self.transp_conv(x), skip), dim=1))  # type: ignore[no-any-return]


class InputProjection(nn.Module):
    """The full-resolution skip: a 3³ convolution of the input, then a norm over channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, width, 3, padding=1)
        self.norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Four up blocks from stride 16 to full resolution, then a 1³ convolution to the outputs.

    Args:
        channels: input channels of the network.
        widths: the encoder's four stage widths.
        outputs: output channels.
    """

    def __init__(self, channels: int, widths: Sequence[int], outputs: int) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.decoder5 = UpBlock(fourth, third)
        self.decoder4 = UpBlock(third, second)
        self.decoder3 = UpBlock(second, first)
        self.decoder2 = UpBlock(first, first)
        self.proj1 = InputProjection(channels, first)
        self.out = NamedConv(NamedConv(nn.Conv3d(first, outputs, 1)))

    def refine(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Decode the encoder's five D-first features.

        Returns:
            The outputs of ``decoder4`` (stride 4), ``decoder3`` (stride 2) and ``decoder2``
            (stride 1), in (B, C, H, W, D) order.
        """
        image, one, two, three, four = (f.permute(0, 1, 3, 4, 2) for f in features)
        stride8 = self.decoder5(four, three)
        stride4 = self.decoder4(stride8, two)
        stride2 = self.decoder3(stride4, one)
        # The projection's kernel was learned in D-first order, like the encoder's.
        skip = self.proj1(image.permute(0, 1, 4, 2, 3)).permute(0, 1, 3, 4, 2)
        return stride4, stride2, self.decoder2(stride2, skip)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, outputs, H, W, D) of the encoder's five D-first features."""
        return self.out(self.refine(features)[-1])  # type: ignore[no-any-return]
