"""Rewrite a trained network into an equal one that runs faster.

Every step is exact but for float rounding:

* **one axis order**: the encoder was trained on (D, H, W); permuting each of its kernels once lets
  the network run in (H, W, D) throughout, with no transpose left (attention does not care about
  the order of its tokens);
* **folded norms**: a batch norm before a 1³ convolution is a scale and shift of its input, so it
  goes into that convolution's weight and bias;
* **folded residuals**: ``x + conv(x)`` is a convolution whose centre tap is one larger;
* **folded up-convolutions**: a transposed convolution (kernel 2, stride 2, no bias) followed by a
  3³ convolution (padding 1, no bias) is one transposed convolution of kernel 4, stride 2 and
  padding 1. The part of the 3³ convolution that reads the skip stays as it is.

The trained network is not touched. One more change is not about speed: see ``instance_norm``.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainmvp_training.networks import ClassificationNetwork, SegmentationNetwork
from brainmvp_training.networks.decoder import LEAK, Decoder, InputProjection, UpBlock
from brainmvp_training.networks.uniformer import (
    Attention,
    AttentionBlock,
    ChannelNorm,
    ConvBlock,
    PatchEmbed,
    TokenMlp,
    UniFormer,
)


def rewritten(network: nn.Module) -> nn.Module:
    """An equal network in evaluation mode: image (N, C, H, W, D) in, logits out.

    Args:
        network: a :class:`SegmentationNetwork` or :class:`ClassificationNetwork`.
    """
    network = copy.deepcopy(network)
    if isinstance(network, SegmentationNetwork):
        return ServingSegmentation(network).eval()
    if isinstance(network, ClassificationNetwork):
        return ServingClassification(network).eval()
    raise TypeError(f"no rewrite for {type(network).__name__}")


class ServingSegmentation(nn.Module):
    """A segmentation network in one axis order."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.encoder = ServingEncoder(network.encoder)
        self.decoder = ServingDecoder(network.decoder)

    def forward(self, image: Tensor) -> Tensor:
        return self.decoder(image, *self.encoder(image))  # type: ignore[no-any-return]


class ServingClassification(nn.Module):
    """A classification network in one axis order."""

    def __init__(self, network: ClassificationNetwork) -> None:
        super().__init__()
        self.encoder = ServingEncoder(network.encoder)
        self.head = network.head

    def forward(self, image: Tensor) -> Tensor:
        deepest = self.encoder(image)[-1]
        return self.head(deepest.mean(dim=(2, 3, 4)))  # type: ignore[no-any-return]


class ServingEncoder(nn.Module):
    """The encoder in (H, W, D) order; returns the features at strides 2, 4, 8 and 16."""

    def __init__(self, encoder: UniFormer) -> None:
        super().__init__()
        self.embeds = nn.ModuleList(
            _Embed(encoder.get_submodule(f"patch_embed{stage}")) for stage in (1, 2, 3, 4)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*map(_serving_block, encoder.get_submodule(f"blocks{stage}").children()))
            for stage in (1, 2, 3, 4)
        )
        self.norm = encoder.norm

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        x = image
        for embed, blocks in zip(self.embeds, self.stages, strict=True):
            x = blocks(embed(x))
            features.append(x)
        deepest = features.pop()
        return [*features, self.norm(deepest.float()).to(deepest.dtype)]


class ServingDecoder(nn.Module):
    """The decoder, its two high-resolution up blocks folded."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        # Folding the two narrow-and-deep blocks saves no time and costs 39 MB of weights.
        self.decoder5 = PlainUpBlock(decoder.decoder5)
        self.decoder4 = PlainUpBlock(decoder.decoder4)
        self.decoder3 = FoldedUpBlock(decoder.decoder3)
        self.decoder2 = FoldedUpBlock(decoder.decoder2)
        self.skip = _Embed(decoder.proj1)
        self.out = decoder.out

    def forward(
        self, image: Tensor, one: Tensor, two: Tensor, three: Tensor, four: Tensor
    ) -> Tensor:
        x = self.decoder5(four, three)
        x = self.decoder4(x, two)
        x = self.decoder3(x, one)
        return self.out(self.decoder2(x, self.skip(image)))  # type: ignore[no-any-return]


class PlainUpBlock(nn.Module):
    """An up block as it was trained."""

    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        self.up = block.transp_conv
        self.conv1, self.conv2, self.conv3 = (
            block.conv_block.get_submodule(name) for name in ("conv1", "conv2", "conv3")
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        joined = torch.cat((self.up(x), skip), dim=1)
        hidden = F.leaky_relu(instance_norm(self.conv1(joined)), LEAK)
        hidden = instance_norm(self.conv2(hidden))
        return F.leaky_relu(hidden + instance_norm(self.conv3(joined)), LEAK)


class FoldedUpBlock(nn.Module):
    """An up block whose transposed convolution has gone into the convolutions behind it."""

    def __init__(self, block: UpBlock) -> None:
        super().__init__()
        up = _weight(block.transp_conv.conv)
        width = up.shape[1]
        wide, shortcut = (
            _weight(block.conv_block.get_submodule(n).conv) for n in ("conv1", "conv3")
        )
        self.up1 = _transposed(fold_into_3(up, wide[:, :width]), padding=1)
        self.skip1 = _convolution(wide[:, width:], padding=1)
        self.up3 = _transposed(fold_into_1(up, shortcut[:, :width]), padding=0)
        self.skip3 = _convolution(shortcut[:, width:], padding=0)
        self.conv2 = block.conv_block.conv2

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        hidden = F.leaky_relu(instance_norm(self.up1(x) + self.skip1(skip)), LEAK)
        hidden = instance_norm(self.conv2(hidden))
        return F.leaky_relu(hidden + instance_norm(self.up3(x) + self.skip3(skip)), LEAK)


_EPS = 1e-5
"""The epsilon of an instance norm."""

_POOL = 8
"""Longest edge of a block that is averaged on its own."""

_SAFE_SUM = 20_000
"""Elements that a float32 sum can take one after another without losing what matters here."""


def instance_norm(x: Tensor) -> Tensor:
    """Instance norm without parameters, in float32 whatever ``x`` is: half precision loses it.

    At high resolution the mean is taken in two steps, of blocks and then of their means. Runtimes
    sum a whole volume in one float32; a constant background then rounds the same way each time,
    and OpenVINO's logits were 1e-3 of a deviation off. In two steps they are 1e-5 off.
    """
    wide = x.float()
    if wide[0, 0].numel() <= _SAFE_SUM:
        return F.instance_norm(wide).to(x.dtype)
    centred = wide - _mean_by_blocks(wide)
    return (centred * torch.rsqrt(_mean_by_blocks(centred * centred) + _EPS)).to(x.dtype)


def _mean_by_blocks(x: Tensor) -> Tensor:
    """Mean over space, (N, C, h, w, d) to (N, C, 1, 1, 1), of blocks that tile every axis."""
    block = [math.gcd(int(edge), _POOL) for edge in x.shape[2:]]
    return F.avg_pool3d(x, block).mean(dim=(2, 3, 4), keepdim=True)


class TokenNorm(nn.LayerNorm):
    """Layer norm over the last axis, in float32 whatever its input is."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__(norm.normalized_shape, eps=norm.eps)
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = super().forward(x.float())
        return normed.to(x.dtype)


class AxisNorm(nn.Module):
    """Layer norm over axis 1 without moving it, in float32: (N, C, …) in and out."""

    def __init__(self, norm: ChannelNorm) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.detach().reshape(-1, 1, 1, 1))
        self.bias = nn.Parameter(norm.bias.detach().reshape(-1, 1, 1, 1))
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        centred = wide - wide.mean(dim=1, keepdim=True)
        variance = (centred * centred).mean(dim=1, keepdim=True)
        normed = centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias
        return normed.to(x.dtype)


class _Embed(nn.Module):
    """A convolution and a channel norm, in (H, W, D) order."""

    def __init__(self, embed: nn.Module) -> None:
        super().__init__()
        assert isinstance(embed, PatchEmbed | InputProjection)
        self.proj = _reordered(embed.proj)
        self.norm = AxisNorm(embed.norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))  # type: ignore[no-any-return]


class _Local(nn.Module):
    """A convolutional block with its norms and first residual folded."""

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        self.position = _with_residual(_reordered(block.pos_embed))
        self.conv1 = _norm_folded(block.norm1, block.conv1)
        self.mix = _reordered(block.attn)
        self.conv2 = block.conv2
        self.fc1 = _norm_folded(block.norm2, block.mlp.fc1)
        self.fc2 = block.mlp.fc2

    def forward(self, x: Tensor) -> Tensor:
        x = self.position(x)
        x = x + self.conv2(self.mix(self.conv1(x)))
        return x + self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class _Global(nn.Module):
    """An attention block with its first residual folded."""

    def __init__(self, block: AttentionBlock) -> None:
        super().__init__()
        self.position = _with_residual(_reordered(block.pos_embed))
        self.norm1 = TokenNorm(block.norm1)
        self.attn: Attention = block.attn
        self.norm2 = TokenNorm(block.norm2)
        self.mlp: TokenMlp = block.mlp

    def forward(self, x: Tensor) -> Tensor:
        x = self.position(x)
        tokens: Tensor = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


def _serving_block(block: nn.Module) -> nn.Module:
    if isinstance(block, ConvBlock):
        return _Local(block)
    assert isinstance(block, AttentionBlock)
    return _Global(block)


class HalfPrecision(nn.Module):
    """A rewritten network whose convolutions and linear layers hold and use 16 bits.

    Norms stay in float32, and so do input and output: the precision is in the graph itself,
    because some runtimes (TensorRT 11) take it from nowhere else.

    Args:
        kind: ``torch.float16``, or ``torch.bfloat16``: the range of float32, an eighth of
            float16's accuracy.
    """

    def __init__(self, network: nn.Module, kind: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.kind = kind
        self.network = copy.deepcopy(network)
        for module in self.network.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
                module.to(kind)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image.to(self.kind)).float()  # type: ignore[no-any-return]


def fold_into_3(up: Tensor, conv: Tensor) -> Tensor:
    """Kernel of the transposed convolution that equals ``conv`` (3³) after ``up`` (2³, stride 2).

    In each axis ``K[i, o, b - t + 2] += sum_u up[i, u, b] * conv[o, u, t]``.

    Args:
        up: (in, mid, 2, 2, 2), a transposed convolution's weight.
        conv: (out, mid, 3, 3, 3), a convolution's weight, padding 1.

    Returns:
        (in, out, 4, 4, 4), for stride 2 and padding 1.
    """
    up, conv = up.double(), conv.double()
    folded = torch.zeros(up.shape[0], conv.shape[0], 4, 4, 4, dtype=torch.float64)
    for b in torch.cartesian_prod(*[torch.arange(2)] * 3).tolist():
        for t in torch.cartesian_prod(*[torch.arange(3)] * 3).tolist():
            x, y, z = (tap - shift + 2 for tap, shift in zip(b, t, strict=True))
            folded[:, :, x, y, z] += up[(..., *b)] @ conv[(..., *t)].T
    return folded.float()


def fold_into_1(up: Tensor, conv: Tensor) -> Tensor:
    """Kernel of the transposed convolution that equals ``conv`` (1³) after ``up`` (2³, stride 2).

    Returns:
        (in, out, 2, 2, 2), for stride 2 and no padding.
    """
    mixed = torch.einsum("iuxyz,ou->ioxyz", up.double(), conv[:, :, 0, 0, 0].double())
    return mixed.float()


def _norm_folded(norm: nn.BatchNorm3d, conv: nn.Conv3d) -> nn.Conv3d:
    """One 1³ convolution that equals ``conv`` after ``norm`` in evaluation mode."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shift = norm.bias.double() - norm.running_mean.double() * scale
    weight = conv.weight.double()
    bias = weight.flatten(1) @ shift
    if conv.bias is not None:
        bias = bias + conv.bias.double()
    return _convolution((weight * scale.reshape(1, -1, 1, 1, 1)).float(), bias.float())


def _with_residual(conv: nn.Conv3d) -> nn.Conv3d:
    """One depth-wise convolution that equals ``x + conv(x)``."""
    weight = conv.weight.detach().clone()
    weight[:, 0, 1, 1, 1] += 1
    return _convolution(weight, conv.bias, padding=1, groups=conv.groups)


def _reordered(conv: nn.Conv3d) -> nn.Conv3d:
    """The convolution with its kernel's axes turned from (D, H, W) to (H, W, D)."""
    reordered = nn.Conv3d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
    )
    reordered.weight = nn.Parameter(conv.weight.detach().permute(0, 1, 3, 4, 2).contiguous())
    reordered.bias = conv.bias
    return reordered


def _convolution(
    weight: Tensor, bias: Tensor | None = None, *, padding: int = 0, groups: int = 1
) -> nn.Conv3d:
    out, per_group, edge = weight.shape[:3]
    conv = nn.Conv3d(
        per_group * groups, out, edge, padding=padding, groups=groups, bias=bias is not None
    )
    conv.weight = nn.Parameter(weight.detach().contiguous())
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach())
    return conv


def _transposed(weight: Tensor, *, padding: int) -> nn.ConvTranspose3d:
    entry, width, edge = weight.shape[:3]
    conv = nn.ConvTranspose3d(entry, width, edge, stride=2, padding=padding, bias=False)
    conv.weight = nn.Parameter(weight.contiguous())
    return conv


def _weight(conv: nn.Module | Tensor) -> Tensor:
    weight = conv.weight if isinstance(conv, nn.Module) else conv
    assert isinstance(weight, Tensor)
    return weight.detach()
