"""The three pretext tasks of BrainMVP (arXiv 2410.10604) and the network that learns them.

A window of one modality is hidden in blocks. In one view its learned template shows through, in the
other another modality of the same study. Both views are to be reconstructed (cross-modal
reconstruction); the template learns from what it filled (modality-wise data distillation); the two
views' deepest features are to agree (modality-aware contrastive learning).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brainmvp_models.modality import Modality
from brainmvp_models.templates import TEMPLATE_SHAPE
from brainmvp_training.losses import contrastive_loss
from brainmvp_training.masking import block_mask
from brainmvp_training.networks.build import NetworkSize
from brainmvp_training.networks.decoder import Decoder, NamedConv
from brainmvp_training.prepared import PreparedStudy
from brainmvp_training.windows import centre_shift, draw_window

RANGE_FLOOR = 1e-9
"""Added to a template's range, which is zero until it has learned anything."""


@dataclass(frozen=True)
class Pretext:
    """How the pretext tasks are posed.

    Attributes:
        window, block, rate: voxels of a window's edge and of a block's; the share of blocks hidden.
        template_epochs: how long the second view, too, is filled from the template.
        contrast_from: the first epoch of contrastive learning.
        template_weight, modality_weight: of the two views' reconstruction errors.
        temperature: of the contrastive loss.
    """

    window: int = 96
    block: int = 8
    rate: float = 0.8
    template_epochs: int = 300
    contrast_from: int = 1000
    template_weight: float = 10.0
    modality_weight: float = 1.0
    temperature: float = 1.0


class PretextBatch(NamedTuple):
    """Windows of B studies.

    Attributes:
        target: (B, 1, w, w, w) the modality to reconstruct, clipped to [0, 1].
        other: (B, 1, w, w, w) another modality of the study; the target where it has only one.
        hidden: (B, 1, w, w, w) booleans.
        modality: (B,) index of the target's modality in the bank.
        place: (B, 3) the window's first voxel on the template grid.
        alone: (B,) whether the study has no other modality.
    """

    target: Tensor
    other: Tensor
    hidden: Tensor
    modality: Tensor
    place: Tensor
    alone: Tensor


class Reconstruction(nn.Module):
    """The encoder, and a decoder of its four transposed convolutions alone: no skips, no norms.

    The decoder's other parameters are there because the published files have them; they stay as
    they were drawn.
    """

    def __init__(self, size: NetworkSize) -> None:
        super().__init__()
        self.encoder = size.encoder(1)
        self.decoder = Decoder(1, size.widths, 1)
        del self.decoder.out
        self.decoder.out_1 = NamedConv(NamedConv(nn.Conv3d(size.widths[0], 1, 1)))
        for module in self.decoder.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for name, parameter in self.decoder.named_parameters():
            parameter.requires_grad = "transp_conv" in name or name.startswith("out_1")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction (B, 1, X, Y, Z) of an image of that shape, and its deepest feature."""
        deepest = self.encoder(image)[-1]
        x = deepest.permute(0, 1, 3, 4, 2)
        for stage in ("decoder5", "decoder4", "decoder3", "decoder2"):
            x = self.decoder.get_submodule(f"{stage}.transp_conv")(x)
        image = self.decoder.get_submodule("out_1")(x)
        return image, deepest


class Pretraining(nn.Module):
    """What pre-training optimises: a network, the template bank, and their loss.

    Attributes:
        rep_template: (modalities, 240, 240, 155), zero at first. The published name.
    """

    terms = ("loss", "template view", "modality view", "contrast")

    def __init__(self, size: NetworkSize, modalities: Sequence[Modality], pretext: Pretext) -> None:
        super().__init__()
        self.network = Reconstruction(size)
        self.rep_template = nn.Parameter(torch.zeros(len(modalities), *TEMPLATE_SHAPE))
        self.pretext = pretext
        self.epoch = 0

    def forward(self, batch: PretextBatch) -> Tensor:
        """The terms of the loss, (4,), in the order of :attr:`terms`; the first is their sum."""
        pretext = self.pretext
        template = self.templates_at(batch)
        filler = batch.other
        if self.epoch < pretext.template_epochs:
            filler = template
        else:
            filler = torch.where(batch.alone.view(-1, 1, 1, 1, 1), template, filler)
        views = torch.cat(
            (
                torch.where(batch.hidden, template, batch.target),
                torch.where(batch.hidden, filler, batch.target),
            )
        )
        image, deepest = self.network(views)
        one, other = image.float().chunk(2)
        by_template = F.mse_loss(one, batch.target)
        by_modality = F.mse_loss(other, batch.target)
        contrast = torch.zeros_like(by_template)
        if self.epoch >= pretext.contrast_from:
            first, second = deepest.chunk(2)
            contrast = contrastive_loss(first, second, pretext.temperature)
        loss = pretext.template_weight * by_template + pretext.modality_weight * by_modality
        return torch.stack((loss + contrast, by_template, by_modality, contrast))

    def templates_at(self, batch: PretextBatch) -> Tensor:
        """The bank under each window, (B, 1, w, w, w), min-max scaled over its whole template.

        The range is taken as it is: a template learns only through the voxels it filled.
        """
        edge = batch.target.shape[-1]
        parts = []
        # Taken apart once: the gradient of a template that is indexed is as large as the bank.
        templates = self.rep_template.unbind()
        for index, place in zip(batch.modality.tolist(), batch.place.tolist(), strict=True):
            template = templates[index]
            low, high = template.detach().aminmax()
            part = _cut(template, place, edge)
            parts.append((part - low) / (high - low + RANGE_FLOOR))
        return torch.stack(parts).unsqueeze(1)


class PretextSampler:
    """Batches of windows; every one is a function of seed, epoch, rank and its index."""

    def __init__(
        self,
        studies: Sequence[PreparedStudy],
        modalities: Sequence[Modality],
        pretext: Pretext,
        *,
        batch: int,
        per_study: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.studies = studies
        self.bank = {modality: index for index, modality in enumerate(modalities)}
        self.pretext = pretext
        self.batch_size = batch
        self.seed, self.rank, self.ranks, self.per_study = seed, rank, ranks, per_study

    def __len__(self) -> int:
        """Batches an epoch and rank."""
        return max(len(self.studies) * self.per_study // (self.batch_size * self.ranks), 1)

    def batch(self, epoch: int, index: int) -> PretextBatch:
        """One batch; its studies are distinct where there are enough of them."""
        order = epoch_order(len(self.studies), self.per_study, self.seed, epoch)
        first = (index * self.ranks + self.rank) * self.batch_size
        rng = np.random.default_rng((self.seed, 2, epoch, index, self.rank))
        rows = [
            self._window(self.studies[order[(first + k) % len(order)]], rng)
            for k in range(self.batch_size)
        ]
        columns = zip(*rows, strict=True)
        return PretextBatch(*(torch.stack(column) for column in columns))

    def _window(self, study: PreparedStudy, rng: np.random.Generator) -> PretextBatch:
        chosen = int(rng.integers(len(study.modalities)))
        others = [i for i in range(len(study.modalities)) if i != chosen]
        other = int(rng.choice(others)) if others else chosen
        place = draw_window(study, self.pretext.window, rng)
        pair = np.clip(place.cut(study.image[[chosen, other]]).astype(np.float32), 0, 1)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        hidden = block_mask(self.pretext.window, self.pretext.block, self.pretext.rate, generator)
        on_grid = place.shifted(centre_shift(study.shape, TEMPLATE_SHAPE))
        return PretextBatch(
            target=torch.from_numpy(pair[:1]),
            other=torch.from_numpy(pair[1:]),
            hidden=hidden[None],
            modality=torch.tensor(self.bank[study.modalities[chosen]]),
            place=torch.tensor(on_grid.start),
            alone=torch.tensor(not others),
        )


def epoch_order(studies: int, per_study: int, seed: int, epoch: int) -> list[int]:
    """The studies of one epoch, shuffled; each comes ``per_study`` times, far apart."""
    rng = np.random.default_rng((seed, 1, epoch))
    return [int(i) for _ in range(per_study) for i in rng.permutation(studies)]


def _cut(template: Tensor, start: Sequence[int], edge: int) -> Tensor:
    """The part of a template under a window; beyond the grid, its lowest value."""
    slices, padding = [], []
    for first, n in zip(start, template.shape, strict=True):
        low, high = max(first, 0), max(min(first + edge, n), max(first, 0))
        slices.append(slice(low, high))
        padding.append((low - first, first + edge - high))
    part = template[tuple(slices)]
    if not any(a or b for a, b in padding):
        return part
    flat = [n for pair in reversed(padding) for n in pair]
    return F.pad(part, flat, value=float(template.detach().min()))
