"""Whole networks, and the sizes they come in."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from brainmvp_training.networks.decoder import Decoder
from brainmvp_training.networks.uniformer import UniFormer, pooled


@dataclass(frozen=True)
class NetworkSize:
    """How wide and deep a network is; named, because a checkpoint does not say its head width."""

    name: str
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    head_width: int

    def encoder(self, channels: int) -> UniFormer:
        """An encoder of this size for ``channels`` inputs."""
        return UniFormer(channels, self.widths, self.depths, self.head_width)


RELEASED = NetworkSize("released", (64, 128, 320, 512), (3, 4, 8, 3), 64)
"""The published size: 22.0 M parameters in the encoder, 12.3 M in the decoder (four inputs)."""

TINY = NetworkSize("tiny", (16, 32, 64, 128), (1, 1, 2, 1), 16)
"""About a million parameters: for tests, demos and teaching."""

SIZES: tuple[NetworkSize, ...] = (RELEASED, TINY)


class SegmentationNetwork(nn.Module):
    """Encoder, decoder and the deep-supervision heads (``ms_out``) that only training uses.

    Args:
        size: one of :data:`SIZES`.
        channels: input channels C.
        outputs: output channels O.
    """

    def __init__(self, size: NetworkSize, channels: int, outputs: int) -> None:
        super().__init__()
        self.encoder = size.encoder(channels)
        self.decoder = Decoder(channels, size.widths, outputs)
        self.ms_out = nn.ModuleList(
            nn.Conv3d(width, outputs, 1) for width in (size.widths[1], size.widths[0])
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, O, H, W, D) of ``image`` (B, C, H, W, D); every axis a multiple of 16."""
        return self.decoder(self.encoder(image))  # type: ignore[no-any-return]


class ClassificationNetwork(nn.Module):
    """Encoder, global average pool of the deepest feature, one linear layer.

    The published code has no classification head; this one is the project's own.
    """

    def __init__(self, size: NetworkSize, channels: int, outputs: int) -> None:
        super().__init__()
        self.encoder = size.encoder(channels)
        self.head = nn.Linear(size.widths[3], outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, O) of ``image`` (B, C, H, W, D); every axis a multiple of 16."""
        return self.head(pooled(self.encoder(image)[-1]))  # type: ignore[no-any-return]
