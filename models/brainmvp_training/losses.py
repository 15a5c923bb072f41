"""The losses of pre-training and fine-tuning that MONAI does not have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from brainmvp_models.task import ClassOutputs, RegionOutputs, SegmentationOutputs

_DICE_SHARE = 0.7


def contrastive_loss(one: Tensor, other: Tensor, temperature: float = 1.0) -> Tensor:
    """Symmetric InfoNCE between two views of a batch of studies.

    Row i of ``one`` and of ``other``, (B, …) each, show one study: they attract, all other pairs
    repel. van den Oord et al., arXiv 1807.03748, in the symmetric form of Radford et al.,
    arXiv 2103.00020. With B = 1 it is zero.
    """
    rows = F.normalize(one.flatten(1).float(), dim=1)
    columns = F.normalize(other.flatten(1).float(), dim=1)
    similarity = rows @ columns.T / temperature
    same = torch.arange(len(rows), device=rows.device)
    return (F.cross_entropy(similarity, same) + F.cross_entropy(similarity.T, same)) / 2


class SegmentationLoss(nn.Module):
    """Dice and cross-entropy, 0.7 and 0.3 as published, averaged over three resolutions.

    Regions are judged one sigmoid each, classes by one softmax.
    """

    def __init__(self, outputs: SegmentationOutputs) -> None:
        super().__init__()
        self.outputs = outputs
        self.regions = isinstance(outputs, RegionOutputs)
        # MONAI's DiceCELoss takes the softmax cross-entropy also of overlapping regions, which is
        # zero where there is no lesion: a network would never learn to leave tissue alone.
        self.dice = DiceLoss(
            sigmoid=self.regions,
            softmax=not self.regions,
            squared_pred=True,
            batch=True,
            smooth_nr=1.0,
            smooth_dr=1.0,
        )

    def forward(self, logits: Sequence[Tensor], label: Tensor) -> Tensor:
        """Loss of logits (B, O, h, w, d), each at its own resolution, of which the finest has the
        label's: ``label`` is (B, X, Y, Z) mask values. Coarser logits are interpolated."""
        truth = one_hot(label, self.outputs)
        size = truth.shape[2:]
        terms = [
            self._judged(
                x.float()
                if x.shape[2:] == size
                else F.interpolate(x.float(), size, mode="trilinear", align_corners=True),
                truth,
            )
            for x in logits
        ]
        return torch.stack(terms).mean()

    def _judged(self, logits: Tensor, truth: Tensor) -> Tensor:
        if self.regions:
            entropy = F.binary_cross_entropy_with_logits(logits, truth)
        else:
            entropy = F.cross_entropy(logits, truth)
        dice: Tensor = self.dice(logits, truth)
        return _DICE_SHARE * dice + (1 - _DICE_SHARE) * entropy


def one_hot(label: Tensor, outputs: SegmentationOutputs) -> Tensor:
    """Mask values (B, X, Y, Z) as one channel a region or class: (B, O, X, Y, Z) float32."""
    members: list[tuple[int, ...]]
    if isinstance(outputs, ClassOutputs):
        members = [(entry.value,) for entry in outputs.classes]
    else:
        members = [region.labels for region in outputs.regions]
    channels = [torch.stack([label == value for value in values]).any(dim=0) for values in members]
    return torch.stack(channels, dim=1).float()
