"""How good a network is on the validation studies while it learns.

A quick figure on the training side, to choose a checkpoint by; what a model is worth says
``brainmvp evaluate``, on the served pipeline and on studies it never saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from monai.data.utils import dense_patch_slices
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from brainmvp_models.modality import Modality
from brainmvp_models.task import RegionOutputs, ScoreOutputs, Task
from brainmvp_training.dry_run import target_index
from brainmvp_training.losses import one_hot
from brainmvp_training.mixing import ChannelFiller, draw_hidden
from brainmvp_training.prepared import PreparedStudy

_OVERLAP = 0.25


class Validation:
    """Judges a network on whole studies: all modalities real, and once more with some missing."""

    def __init__(
        self,
        studies: Sequence[PreparedStudy],
        task: Task,
        filler: ChannelFiller,
        fabric: Fabric,
        *,
        seed: int,
    ) -> None:
        self.studies, self.task, self.filler, self.fabric = studies, task, filler, fabric
        required = tuple(c.modality for c in task.channels if c.required)
        rng = np.random.default_rng((seed, 4))
        self.hidden = [
            draw_hidden(
                [m for m in task.modalities if m in study.modalities],
                required,
                rng,
                len(task.channels) - 1,
            )
            for study in studies
        ]

    @torch.inference_mode()
    def score(self, network: nn.Module) -> float:
        """Mean Dice over outputs, or balanced accuracy, over both ways; higher is better.

        Studies are shared out among the processes.
        """
        was_training = network.training
        network.eval()
        rank, world = self.fabric.global_rank, self.fabric.world_size
        mine = range(rank, len(self.studies), world)
        rows = [
            self._judged(network, self.studies[i], hidden)
            for i in mine
            for hidden in ((), self.hidden[i])
        ]
        network.train(was_training)
        width = self.task.outputs.count + 1
        table = torch.full((2 * -(-len(self.studies) // world), width), torch.nan)
        for index, row in enumerate(rows):
            table[index, : len(row)] = row
        gathered = torch.as_tensor(self.fabric.all_gather(table)).reshape(-1, width).cpu()
        return self._summary(gathered[~torch.isnan(gathered[:, 0])])

    def _judged(
        self, network: nn.Module, study: PreparedStudy, hidden: tuple[Modality, ...]
    ) -> Tensor:
        image = torch.from_numpy(self.filler.volume(study, hidden))[None].to(self.fabric.device)
        outputs = self.task.outputs
        scored = isinstance(outputs, ScoreOutputs)
        with self.fabric.autocast():
            if scored:
                return self._class_scores(network, image, study)
            logits = sliding_window_inference(
                image, self.task.window.size, 1, network, overlap=_OVERLAP
            ).float()
        label = torch.from_numpy(np.array(study.label))[None].to(logits.device)
        truth = one_hot(label, outputs)[0] > 0  # type: ignore[arg-type]
        if isinstance(outputs, RegionOutputs):
            found = logits[0].sigmoid() > outputs.threshold
        else:
            found = (
                torch.nn.functional.one_hot(logits[0].argmax(0), outputs.count).movedim(-1, 0) > 0
            )
            truth, found = truth[1:], found[1:]
        return _dice(found, truth)

    def _class_scores(self, network: nn.Module, image: Tensor, study: PreparedStudy) -> Tensor:
        """The true class, then the mean of the windows' logits."""
        outputs = self.task.outputs
        assert isinstance(outputs, ScoreOutputs)
        logits = torch.stack([network(w)[0].float() for w in _windows(image, self.task)]).mean(0)
        true = float(target_index(study.target or "", outputs) or 0)
        return torch.cat((torch.tensor([true]), logits.cpu()))

    def _summary(self, rows: Tensor) -> float:
        if not isinstance(self.task.outputs, ScoreOutputs):
            return float(rows[:, ~torch.isnan(rows).all(0)].nanmean())
        true, found = rows[:, 0].long(), rows[:, 1:].argmax(1)
        recalls = [(found[true == c] == c).float().mean() for c in set(true.tolist())]
        return float(torch.stack(recalls).mean())


def _windows(image: Tensor, task: Task) -> list[Tensor]:
    """The windows of a whole study (1, C, X, Y, Z), padded where it is smaller than one."""
    size = task.window.size
    short = [max(edge - n, 0) for n, edge in zip(image.shape[2:], size, strict=True)]
    pads = [n for gap in reversed(short) for n in (gap // 2, gap - gap // 2)]
    padded = torch.nn.functional.pad(image, pads)
    steps = [max(int(edge * (1 - task.window.overlap)), 1) for edge in size]
    places = dense_patch_slices(padded.shape[2:], size, steps)
    return [padded[(..., *place)] for place in places]


def _dice(found: Tensor, truth: Tensor) -> Tensor:
    """Dice a channel of booleans (O, X, Y, Z); 1 where both are empty."""
    axes = (1, 2, 3)
    both = (found & truth).sum(axes).float()
    total = found.sum(axes) + truth.sum(axes)
    return torch.where(total > 0, 2 * both / total.clamp(min=1), torch.ones_like(both)).cpu()
