"""The training loop: Lightning Fabric's devices, precision, processes and files around plain torch.

Every batch is a function of seed, epoch, rank and index, so a run that was killed and is resumed
from its last checkpoint goes on as if nothing had happened.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from brainmvp_models.errors import InvalidCheckpoint, TrainingFailed
from brainmvp_training import resume_file
from brainmvp_training.loss_log import LossLog
from brainmvp_training.resume_file import RESUME_FILE
from brainmvp_training.running_mean import RunningMean


class Objective(Protocol):
    """A module whose forward turns a batch into the terms of its loss, their sum first."""

    terms: tuple[str, ...]
    epoch: int


class Sampler(Protocol):
    """Where batches come from."""

    def __len__(self) -> int: ...

    def batch(self, epoch: int, index: int) -> Any:
        """One batch, a named tuple of tensors; the same arguments give the same one."""
        ...


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how to train.

    Attributes:
        epochs: passes over the sampler.
        learning_rate, weight_decay: AdamW's.
        warmup: optimiser steps of linear warm-up before the cosine.
        accumulate: batches a step of the optimiser.
        clip: largest norm of the gradient of one parameter group; 0 for no limit.
        average: decay of the running mean of weights that is judged and saved; 0 for none.
        save_seconds: how often the resume file is written.
        threads: threads that make batches ahead.
    """

    epochs: int
    learning_rate: float = 3e-4
    weight_decay: float = 1e-5
    warmup: int = 0
    accumulate: int = 1
    clip: float = 0.0
    average: float = 0.0
    save_seconds: float = 120.0
    threads: int = 1


@dataclass(frozen=True)
class TrainingProgress:
    """One optimiser step as it is reported."""

    epoch: int
    step: int
    steps: int
    terms: dict[str, float]


def make_fabric(precision: str, accelerator: str = "auto") -> Fabric:
    """Fabric for this process: alone, or one of those that torchrun started.

    Args:
        precision: ``auto`` (bf16 on a GPU that has it, fp16 on another, fp32 on a CPU), ``32``,
            ``bf16`` or ``16``.

    Raises:
        TrainingFailed: there is no such device, or it has no such precision.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if precision == "auto":
        gpu = accelerator != "cpu" and torch.cuda.is_available()
        precision = _half_precision() if gpu else "32"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=max(world // local, 1),
            strategy="ddp" if world > 1 else "auto",
            precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[precision],  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise TrainingFailed(
            f"accelerator '{accelerator}' cannot train in precision '{precision}' here: "
            f"{' '.join(str(error).split())}",
            remedy="Choose --accelerator cpu with --precision 32 or bf16, or install a GPU's torch",
        ) from None
    fabric.launch()
    return fabric


def check_run(run: Path, *, resume: bool) -> None:
    """Look at a run's folder before anything in it is touched.

    Raises:
        InvalidCheckpoint: another run began there, and this one is not to go on with it.
    """
    if not resume and (run / RESUME_FILE).is_file():
        raise InvalidCheckpoint(
            f"{run.name} holds a run already",
            remedy="Go on with it (--resume), or choose another folder",
            subject=RESUME_FILE,
        )


def _half_precision() -> str:
    """What this GPU's hardware has: a torch that emulates bf16 on an older one says it has it."""
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"


def train(
    fabric: Fabric,
    objective: nn.Module,
    sampler: Sampler,
    plan: TrainingPlan,
    run: Path,
    *,
    groups: list[dict[str, Any]] | None = None,
    material: str = "",
    resume: bool = False,
    on_step: Callable[[TrainingProgress], None] = lambda _: None,
    on_epoch: Callable[[int, nn.Module], bool] = lambda epoch, judged: False,
) -> nn.Module:
    """Train ``objective``; returns the module to keep, which is the running mean if there is one.

    Args:
        groups: AdamW's parameter groups; by default one of everything that learns.
        material: what the batches are made of; a run goes on with the same alone.
        on_epoch: called on every process after an epoch with its number and the module to judge;
            true asks for the resume file to be written at once.

    Raises:
        InvalidCheckpoint: ``resume``, and the run's resume file is not of this training.
        TrainingFailed: the loss is not finite; the resume file is of before.
    """
    training = _Training(fabric, objective, sampler, plan, run, groups, material)
    if resume and (run / RESUME_FILE).is_file():
        training.resume()
    with training.logged() as log:
        for epoch in range(training.state["epoch"], plan.epochs):
            training.epoch(epoch, log, on_step)
            training.end_epoch(epoch, on_epoch)
    return training.judged


class _Training:
    """A training under way: what its steps change, and what its resume file holds."""

    def __init__(
        self,
        fabric: Fabric,
        objective: nn.Module,
        sampler: Sampler,
        plan: TrainingPlan,
        run: Path,
        groups: list[dict[str, Any]] | None,
        material: str,
    ) -> None:
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)  # type: ignore[no-untyped-call]
        if fabric.device.type == "cpu":
            lay_out(objective)
        self._fabric, self._objective, self._sampler = fabric, objective, sampler
        self._plan, self._run = plan, run
        learning = [p for p in objective.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(
            groups or [{"params": learning}], lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self._batches = len(sampler)
        self._per_epoch = -(-self._batches // plan.accumulate)
        self._steps = plan.epochs * self._per_epoch
        self._schedule = LambdaLR(self._optimiser, _cosine(plan.warmup, self._steps))
        self._module, self._wrapped = fabric.setup(objective, self._optimiser)
        self._average = RunningMean(objective, plan.average)
        self._saved = time.monotonic()
        self.state: dict[str, Any] = {
            "objective": self._module,
            "optimiser": self._wrapped,
            "schedule": self._schedule,
            "precision": fabric.strategy.precision.state_dict(),
            "average": self._average.state,
            "material": f"{self._batches} in steps of {plan.accumulate}: {material}",
            "epoch": 0,
            "index": 0,
        }

    @property
    def judged(self) -> nn.Module:
        """The module to judge and to keep: the running mean if there is one."""
        return self._average.module(self._objective)

    def resume(self) -> None:
        """Go on where the resume file was written, with the rates that are asked for now.

        Raises:
            InvalidCheckpoint: it is not of this training.
        """
        groups = self._optimiser.param_groups
        asked = [(group["initial_lr"], group["weight_decay"]) for group in groups]
        material = self.state["material"]
        resume_file.load(self._fabric, self._run, self.state, self._average)
        resume_file.check_material(self.state["material"], material)
        resume_file.set_rates(self._optimiser, self._schedule, asked)

    @contextmanager
    def logged(self) -> Iterator[LossLog | None]:
        """The run's log, on the process that writes it."""
        if not self._fabric.is_global_zero:
            yield None
            return
        into = -(-self.state["index"] // self._plan.accumulate)
        log = LossLog(self._run, after=self.state["epoch"] * self._per_epoch + into)
        try:
            yield log
        finally:
            log.close()

    def epoch(
        self, epoch: int, log: LossLog | None, on_step: Callable[[TrainingProgress], None]
    ) -> None:
        """One pass over the sampler, from where the resume file left it.

        Raises:
            TrainingFailed: the loss is not finite.
        """
        plan, fabric = self._plan, self._fabric
        self._objective.epoch = epoch  # type: ignore[assignment]
        self._module.train()
        sums: Tensor | None = None
        for index, batch in _ahead(self._sampler, epoch, self.state["index"], plan.threads):
            last = index + 1 == self._batches
            stepping = (index + 1) % plan.accumulate == 0 or last
            with fabric.no_backward_sync(self._module, enabled=not stepping):
                terms = self._module(_to(batch, fabric.device))
                fabric.backward(terms[0] / plan.accumulate)
            sums = terms.detach() if sums is None else sums + terms.detach()
            if not stepping:
                continue
            self._step(epoch, sums)
            step = epoch * self._per_epoch + index // plan.accumulate + 1
            share = index % plan.accumulate + 1
            values = dict(zip(self._objective.terms, (sums / share).tolist(), strict=True))  # type: ignore[arg-type]
            sums = None
            if log is not None:
                log.write(epoch, step, values, float(self._schedule.get_last_lr()[0]))
            on_step(TrainingProgress(epoch, step, self._steps, values))
            if self._due(plan.save_seconds) and not last:
                self.state.update(epoch=epoch, index=index + 1, average=self._average.state)
                self._save()

    def end_epoch(self, epoch: int, on_epoch: Callable[[int, nn.Module], bool]) -> None:
        """Have the epoch judged; write the resume file where it is asked for or due."""
        _share_statistics(self._fabric, self.judged)
        self.state.update(epoch=epoch + 1, index=0, average=self._average.state)
        wanted = on_epoch(epoch, self.judged)
        due = self._due(self._plan.save_seconds / 2)
        if wanted or due or epoch + 1 == self._plan.epochs:
            self._save()

    def _step(self, epoch: int, sums: Tensor) -> None:
        """One step of the optimiser, if the loss is finite."""
        if not torch.isfinite(sums[0]):
            raise TrainingFailed(
                f"the loss is not finite in epoch {epoch + 1}",
                remedy="Resume with a lower --rate, a --clip, or --precision 32",
            )
        if self._plan.clip:
            self._fabric.strategy.precision.unscale_gradients(self._optimiser)
            _clip(self._optimiser, self._plan.clip)
        self._wrapped.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._schedule.step()
        self._average.update(self._objective)

    def _due(self, seconds: float) -> bool:
        """Whether the resume file is older, by the first process's clock."""
        return bool(self._fabric.broadcast(time.monotonic() - self._saved > seconds))

    def _save(self) -> None:
        resume_file.save(self._fabric, self._run, self.state)
        self._saved = time.monotonic()


def lay_out(module: nn.Module) -> None:
    """Channels last in the kernels of convolutions, and so in what comes out of them.

    oneDNN's way back is faster so: in fp32, a step took 29 % less time (docs/training.md).
    """
    for parameter in module.parameters():
        if parameter.dim() == 5 and parameter[0, 0].numel() > 1:
            # Copied: contiguous() leaves the strides of a kernel with one input channel as they
            # are, and DDP warns where a gradient has others.
            laid = torch.empty_like(parameter, memory_format=torch.channels_last_3d)
            parameter.data = laid.copy_(parameter.data)


def _ahead(sampler: Sampler, epoch: int, first: int, threads: int) -> Iterator[tuple[int, Any]]:
    """Batches in order, the next ones made while one is in use."""
    waiting: deque[Future[Any]] = deque()
    indices = range(first, len(sampler))
    with ThreadPoolExecutor(threads) as pool:
        coming = iter(indices)
        for index in indices:
            while len(waiting) <= threads and (following := next(coming, None)) is not None:
                waiting.append(pool.submit(sampler.batch, epoch, following))
            yield index, waiting.popleft().result()


def _to(batch: Any, device: torch.device) -> Any:
    return type(batch)(*(tensor.to(device, non_blocking=True) for tensor in batch))


def _clip(optimiser: torch.optim.Optimizer, limit: float) -> None:
    for group in optimiser.param_groups:
        if group.get("clipped", True):
            nn.utils.clip_grad_norm_(group["params"], limit)


def _cosine(warmup: int, steps: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        share = (step - warmup) / max(steps - warmup, 1)
        return 0.5 * (1 + float(torch.cos(torch.tensor(min(share, 1.0) * torch.pi))))

    return factor


@torch.no_grad()
def _share_statistics(fabric: Fabric, module: nn.Module) -> None:
    """Give every process rank 0's statistics, which are those that are saved."""
    if fabric.world_size == 1:
        return
    buffers = dict(module.named_buffers())
    sent = fabric.broadcast({name: value.cpu() for name, value in buffers.items()})
    for name, value in sent.items():
        buffers[name].copy_(value)
