"""The UniFormer encoder of BrainMVP.

Two convolutional stages and two attention stages, after Li et al., "UniFormer: Unifying
Convolution and Self-attention for Visual Recognition" (arXiv 2201.09450), in three dimensions.
Parameter names are those of the published checkpoints.

Axis order: the published encoder takes (B, C, H, W, D), permutes it to (B, C, D, H, W) and returns
every feature in that D-first order. That is kept here, because the weights were learned so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvMlp(nn.Module):
    """Two 1³ convolutions with a GELU between them: (B, C, D, H, W) in and out."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(width, width * ratio, 1)
        self.fc2 = nn.Conv3d(width * ratio, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class ConvBlock(nn.Module):
    """Local relations by depth-wise convolution: (B, C, D, H, W) in and out."""

    def __init__(self, width: int, mlp_ratio: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv1 = nn.Conv3d(width, width, 1)
        self.attn = nn.Conv3d(width, width, 5, padding=2, groups=width)
        self.conv2 = nn.Conv3d(width, width, 1)
        self.norm2 = nn.BatchNorm3d(width)
        self.mlp = ConvMlp(width, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head self-attention over all tokens: (B, tokens, C) in and out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, width))  # type: ignore[no-any-return]


class TokenMlp(nn.Module):
    """Two linear layers with a GELU between them: (B, tokens, C) in and out."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width * ratio)
        self.fc2 = nn.Linear(width * ratio, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]


class AttentionBlock(nn.Module):
    """Global relations by self-attention: (B, C, D, H, W) in and out."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = TokenMlp(width, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        tokens: Tensor = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channel axis of (B, C, …), eps 1e-5."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = super().forward(x.movedim(1, -1))
        return normed.movedim(-1, 1)


class PatchEmbed(nn.Module):
    """Halve every axis: a convolution of kernel and stride 2, then a norm over channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, width, 2, stride=2)
        self.norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))  # type: ignore[no-any-return]


class UniFormer(nn.Module):
    """The encoder: four stages at strides 2, 4, 8 and 16.

    Args:
        channels: input channels C.
        widths: channels of the four stages.
        depths: blocks in the four stages; the first two are convolutional.
        head_width: channels an attention head has.
        mlp_ratio: hidden width of an MLP over its width.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        head_width: int,
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        entries = (channels, *widths[:-1])
        for stage, (entry, width) in enumerate(zip(entries, widths, strict=True), start=1):
            self.add_module(f"patch_embed{stage}", PatchEmbed(entry, width))
        self.blocks1 = self._conv_stage(widths[0], depths[0], mlp_ratio)
        self.blocks2 = self._conv_stage(widths[1], depths[1], mlp_ratio)
        self.blocks3 = self._attention_stage(widths[2], depths[2], head_width, mlp_ratio)
        self.blocks4 = self._attention_stage(widths[3], depths[3], head_width, mlp_ratio)
        self.norm = nn.BatchNorm3d(widths[3])

    @staticmethod
    def _conv_stage(width: int, depth: int, ratio: int) -> nn.ModuleList:
        return nn.ModuleList(ConvBlock(width, ratio) for _ in range(depth))

    @staticmethod
    def _attention_stage(width: int, depth: int, head_width: int, ratio: int) -> nn.ModuleList:
        heads = width // head_width
        return nn.ModuleList(AttentionBlock(width, heads, ratio) for _ in range(depth))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode ``image`` (B, C, H, W, D), every spatial axis a multiple of 16.

        Returns:
            Five features in (B, C, D, H, W) order: the permuted input itself, then the four
            stages at strides 2, 4, 8 and 16; the last one has passed ``norm``.
        """
        x = image.permute(0, 1, 4, 2, 3)
        features = [x]
        for stage in (1, 2, 3, 4):
            x = self.get_submodule(f"patch_embed{stage}")(x)
            for block in self.get_submodule(f"blocks{stage}").children():
                x = block(x)
            features.append(x)
        features[-1] = self.norm(features[-1])
        return tuple(features)


def pooled(feature: Tensor) -> Tensor:
    """Mean over space: (B, C, D, H, W) to (B, C)."""
    return torch.mean(feature, dim=(2, 3, 4))
