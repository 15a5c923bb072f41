"""Fine-tuning: segmentation and classification from a pre-trained encoder.

Every sample is seen twice, each time with other modalities replaced by their templates; the two
views' deepest features are pulled together (mean squared error, weight 0.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from monai.transforms import Compose, RandAdjustContrast, RandGaussianNoise, RandScaleIntensity
from torch import Tensor, nn
from torch.nn import functional as F

from brainmvp_models.errors import InvalidCheckpoint
from brainmvp_models.task import ScoreOutputs, Task
from brainmvp_training.checkpoint import Checkpoint, key_differences
from brainmvp_training.dry_run import target_index
from brainmvp_training.losses import SegmentationLoss
from brainmvp_training.mixing import ChannelFiller, OftenMissing, draw_hidden
from brainmvp_training.networks.build import (
    ClassificationNetwork,
    NetworkSize,
    SegmentationNetwork,
)
from brainmvp_training.networks.uniformer import pooled
from brainmvp_training.prepared import PreparedStudy
from brainmvp_training.pretraining import epoch_order
from brainmvp_training.windows import WindowPlace, draw_window


@dataclass(frozen=True)
class Tuning:
    """How fine-tuning is posed.

    Attributes:
        window: voxels of a training window's edge.
        mix: most modalities that a view hides; 0 turns mixing and consistency off.
        consistency: weight of the distance between two views' deepest features.
        on_label: chance that a window is centred near a labelled voxel.
        augment: whether to flip left and right and to vary brightness.
        often: what studies often lack; the other views hide as ``mix`` says.
    """

    window: int = 96
    mix: int = 3
    consistency: float = 0.1
    on_label: float = 0.5
    augment: bool = True
    often: tuple[OftenMissing, ...] = ()


class TuningBatch(NamedTuple):
    """B windows: two views (B, C, w, w, w) and the truth.

    Attributes:
        label: (B, w, w, w) mask values of a segmentation, (B,) classes of a classification.
    """

    one: Tensor
    other: Tensor
    label: Tensor


class FineTuning(nn.Module):
    """What fine-tuning optimises: the network and its loss."""

    terms = ("loss", "truth", "consistency")

    def __init__(
        self, network: SegmentationNetwork | ClassificationNetwork, task: Task, tuning: Tuning
    ) -> None:
        super().__init__()
        self.network = network
        self.tuning = tuning
        self.epoch = 0
        outputs = task.outputs
        self.judge: nn.Module = (
            nn.CrossEntropyLoss()
            if isinstance(outputs, ScoreOutputs)
            else SegmentationLoss(outputs)
        )

    def forward(self, batch: TuningBatch) -> Tensor:
        """The terms of the loss, (3,), in the order of :attr:`terms`; the first is their sum."""
        two = self.tuning.mix > 0
        image = torch.cat((batch.one, batch.other)) if two else batch.one
        label = torch.cat((batch.label, batch.label)) if two else batch.label
        if isinstance(self.network, ClassificationNetwork):
            deepest = self.network.encoder(image)[-1]
            truth = self.judge(self.network.head(pooled(deepest)).float(), label)
        else:
            logits, deepest = supervised_logits(self.network, image)
            truth = self.judge(logits, label)
        apart = torch.zeros_like(truth)
        if two:
            one, other = deepest.float().chunk(2)
            apart = F.mse_loss(one, other)
        return torch.stack((truth + self.tuning.consistency * apart, truth, apart))


def supervised_logits(
    network: SegmentationNetwork, image: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Logits at strides 4, 2 and 1, and the deepest feature, of ``image`` (B, C, X, Y, Z)."""
    features = network.encoder(image)
    stride4, stride2, full = network.decoder.refine(features)
    logits = (network.ms_out[0](stride4), network.ms_out[1](stride2), network.decoder.out(full))
    return logits, features[-1]


def build_network(
    task: Task, size: NetworkSize, pretrained: Checkpoint | None
) -> tuple[SegmentationNetwork | ClassificationNetwork, tuple[str, ...]]:
    """The task's network with a pre-trained encoder, and a line on what was taken and left.

    A file that was fine-tuned for a task of the same form is taken whole. Of a pre-trained one the
    first convolution is left where the channels differ, and the decoder learns afresh, because
    pre-training's has no skips.

    Raises:
        InvalidCheckpoint: the file is of another size, or fits nowhere.
    """
    build = SegmentationNetwork if task.kind == "segmentation" else ClassificationNetwork
    network = build(size, len(task.channels), task.outputs.count)
    if pretrained is None:
        return network, ("the encoder starts from scratch",)
    if pretrained.size != size:
        raise InvalidCheckpoint(
            f"holds the {pretrained.size.name} network, not the {size.name} one",
            remedy=f"Choose --size {pretrained.size.name}",
        )
    wanted = network.state_dict()
    if pretrained.kind == task.kind and not key_differences(wanted, pretrained.state):
        network.load_state_dict(dict(pretrained.state))
        return network, ("the whole network goes on from a fine-tuned file",)
    encoder = {k: v for k, v in pretrained.state.items() if k.startswith("encoder.")}
    fitting = {k: v for k, v in encoder.items() if k in wanted and v.shape == wanted[k].shape}
    left = sorted(set(encoder) - set(fitting))
    if left not in ([], ["encoder.patch_embed1.proj.weight"]):
        raise InvalidCheckpoint(
            f"does not fit the network in {', '.join(left[:5])}",
            remedy="Give a file that pre-training wrote",
        )
    network.load_state_dict({**wanted, **fitting})
    notes = [f"{len(fitting)} arrays of the encoder are pre-trained"]
    if left:
        notes.append(
            f"the first convolution starts from scratch: pre-training has {pretrained.channels} "
            f"input channel{'s' * (pretrained.channels > 1)}, the task {len(task.channels)}"
        )
    return network, tuple(notes)


class TuningSampler:
    """Batches of windows; every one is a function of seed, epoch, rank and its index."""

    def __init__(
        self,
        studies: Sequence[PreparedStudy],
        task: Task,
        filler: ChannelFiller,
        tuning: Tuning,
        *,
        batch: int,
        per_study: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.studies, self.task, self.filler, self.tuning = studies, task, filler, tuning
        self.batch_size, self.per_study, self.seed = batch, per_study, seed
        self.rank, self.ranks = rank, ranks
        self.required = tuple(c.modality for c in task.channels if c.required)

    def __len__(self) -> int:
        """Batches an epoch and rank."""
        return max(len(self.studies) * self.per_study // (self.batch_size * self.ranks), 1)

    def batch(self, epoch: int, index: int) -> TuningBatch:
        """One batch."""
        order = epoch_order(len(self.studies), self.per_study, self.seed, epoch)
        first = (index * self.ranks + self.rank) * self.batch_size
        rng = np.random.default_rng((self.seed, 3, epoch, index, self.rank))
        rows = [
            self._window(self.studies[order[(first + k) % len(order)]], rng)
            for k in range(self.batch_size)
        ]
        return TuningBatch(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def _window(self, study: PreparedStudy, rng: np.random.Generator) -> TuningBatch:
        tuning = self.tuning
        place = draw_window(study, tuning.window, rng, on_marked=tuning.on_label)
        present = [m for m in self.task.modalities if m in study.modalities]
        views = []
        for _ in range(2 if tuning.mix else 1):
            hidden = draw_hidden(present, self.required, rng, tuning.mix, tuning.often)
            views.append(torch.from_numpy(self.filler.channels(study, place, hidden)))
        label = self._truth(study, place)
        if tuning.augment:
            if rng.random() < 0.5:
                views = [view.flip(1) for view in views]
                label = label.flip(0) if label.ndim else label
            views = [_varied(view, rng) for view in views]
        return TuningBatch(views[0], views[-1], label)

    def _truth(self, study: PreparedStudy, place: WindowPlace) -> Tensor:
        outputs = self.task.outputs
        if isinstance(outputs, ScoreOutputs):
            return torch.tensor(target_index(study.target or "", outputs))
        return torch.from_numpy(place.cut(study.label).astype(np.int64))


def _varied(view: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary each channel's brightness and contrast a little, as scanners do, and add noise."""
    vary = Compose(
        [
            RandScaleIntensity(factors=0.15, prob=0.5, channel_wise=True),
            RandAdjustContrast(prob=0.2, gamma=(0.8, 1.25)),
            RandGaussianNoise(prob=0.2, std=0.03),
        ]
    )
    vary.set_random_state(int(rng.integers(1 << 31)))
    return torch.as_tensor(vary(view))
