"""The training loop: Lightning Fabric's devices, precision, processes and files around plain torch.

Every batch is a function of seed, epoch, rank and index, so a run that was killed and is resumed
from its last checkpoint goes on as if nothing had happened.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter

from brainmvp_models.errors import InvalidCheckpoint, TrainingFailed

RESUME_FILE = "last.ckpt"
LOSSES_FILE = "losses.jsonl"


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
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)  # type: ignore[no-untyped-call]
    if fabric.device.type == "cpu":
        lay_out(objective)
    learning = [p for p in objective.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        groups or [{"params": learning}], lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    batches = len(sampler)
    per_epoch = -(-batches // plan.accumulate)
    schedule = LambdaLR(optimiser, _cosine(plan.warmup, plan.epochs * per_epoch))
    module, wrapped = fabric.setup(objective, optimiser)
    average = _RunningMean(objective, plan.average)
    state: dict[str, Any] = {
        "objective": module, "optimiser": wrapped, "schedule": schedule,
        "precision": fabric.strategy.precision.state_dict(), "average": average.state,
        "material": f"{batches} in steps of {plan.accumulate}: {material}", "epoch": 0, "index": 0,
    }  # fmt: skip
    if resume and (run / RESUME_FILE).is_file():
        asked = [(group["initial_lr"], group["weight_decay"]) for group in optimiser.param_groups]
        mine = state["material"]
        _load(fabric, run, state, average)
        _check_material(state["material"], mine)
        _set_rates(optimiser, schedule, asked)
    step = state["epoch"] * per_epoch + -(-state["index"] // plan.accumulate)
    log = _Log(run, after=step) if fabric.is_global_zero else None
    saved = time.monotonic()
    for epoch in range(state["epoch"], plan.epochs):
        objective.epoch = epoch  # type: ignore[assignment]
        module.train()
        first = state["index"]
        sums: Tensor | None = None
        for index, batch in _ahead(sampler, epoch, first, plan.threads):
            last = index + 1 == batches
            stepping = (index + 1) % plan.accumulate == 0 or last
            with fabric.no_backward_sync(module, enabled=not stepping):
                terms = module(_to(batch, fabric.device))
                fabric.backward(terms[0] / plan.accumulate)
            sums = terms.detach() if sums is None else sums + terms.detach()
            if not stepping:
                continue
            if not torch.isfinite(sums[0]):
                raise TrainingFailed(
                    f"the loss is not finite in epoch {epoch + 1}",
                    remedy="Resume with a lower --rate, a --clip, or --precision 32",
                )
            if plan.clip:
                fabric.strategy.precision.unscale_gradients(optimiser)
                _clip(optimiser, plan.clip)
            wrapped.step()
            optimiser.zero_grad(set_to_none=True)
            schedule.step()
            average.update(objective)
            step = epoch * per_epoch + index // plan.accumulate + 1
            share = index % plan.accumulate + 1
            values = dict(zip(objective.terms, (sums / share).tolist(), strict=True))  # type: ignore[arg-type]
            sums = None
            if log is not None:
                log.write(epoch, step, values, float(schedule.get_last_lr()[0]))
            on_step(TrainingProgress(epoch, step, plan.epochs * per_epoch, values))
            due = fabric.broadcast(time.monotonic() - saved > plan.save_seconds)
            if due and not last:
                state.update(epoch=epoch, index=index + 1, average=average.state)
                _save(fabric, run, state)
                saved = time.monotonic()
        judged = average.module(objective)
        _share_statistics(fabric, judged)
        state.update(epoch=epoch + 1, index=0, average=average.state)
        wanted = on_epoch(epoch, judged)
        due = fabric.broadcast(time.monotonic() - saved > plan.save_seconds / 2)
        if wanted or due or epoch + 1 == plan.epochs:
            _save(fabric, run, state)
            saved = time.monotonic()
    if log is not None:
        log.close()
    return average.module(objective)


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


class _RunningMean:
    """An exponential moving mean of the weights and statistics; the module itself without decay."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self._mean: nn.Module | None = None
        if decay:
            self._mean = deepcopy(module).eval()

    @property
    def state(self) -> dict[str, Any]:
        return {} if self._mean is None else {"count": self.count, **self._mean.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        if self._mean is not None:
            self.count = int(state.pop("count"))
            self._mean.load_state_dict(state)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        if self._mean is None:
            return
        keep = min(self.decay, self.count / (self.count + 10))
        self.count += 1
        now = module.state_dict()
        for key, mean in self._mean.state_dict().items():
            if mean.dtype.is_floating_point:
                mean.lerp_(now[key].to(mean.device), 1 - keep)
            else:
                mean.copy_(now[key])

    def module(self, module: nn.Module) -> nn.Module:
        return module if self._mean is None else self._mean


class _Log:
    """The loss of every step, as lines of JSON and for TensorBoard."""

    def __init__(self, run: Path, after: int) -> None:
        """Open the run's log; what it holds after step ``after`` will be written anew."""
        run.mkdir(parents=True, exist_ok=True)
        self._path = run / LOSSES_FILE
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        self._path.write_text("".join(f"{line}\n" for line in lines[:after]))
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=after + 1)

    def write(self, epoch: int, step: int, terms: dict[str, float], rate: float) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"epoch": epoch, "step": step, "rate": rate, **terms}) + "\n")
        for name, value in terms.items():
            self._board.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        self._board.close()


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


def _save(fabric: Fabric, run: Path, state: dict[str, Any]) -> None:
    aside = run / f".{RESUME_FILE}.part"
    state["precision"] = fabric.strategy.precision.state_dict()
    fabric.save(aside, state)
    fabric.barrier()
    if fabric.is_global_zero:
        aside.replace(run / RESUME_FILE)


def _load(fabric: Fabric, run: Path, state: dict[str, Any], average: _RunningMean) -> None:
    try:
        fabric.load(run / RESUME_FILE, state)
        average.load(dict(state["average"]))
        if state["precision"]:  # of fp16; a run may go on in another precision
            fabric.strategy.precision.load_state_dict(state["precision"])
    except (RuntimeError, KeyError, ValueError, EOFError) as error:
        raise InvalidCheckpoint(
            f"is not of this training ({type(error).__name__})",
            remedy="Resume with the options the run began with, or begin in another folder",
            subject=RESUME_FILE,
        ) from error


def _check_material(before: str, now: str) -> None:
    if before != now:
        raise InvalidCheckpoint(
            "is of a run on other batches",
            remedy="Resume with the same studies, --fold, --batch, --per-study, --accumulate and "
            "number of processes",
            subject=RESUME_FILE,
        )


def _set_rates(
    optimiser: torch.optim.Optimizer, schedule: LambdaLR, asked: list[tuple[float, float]]
) -> None:
    """Go on with the rates that this call asks for, where the resume file has others."""
    schedule.base_lrs = [rate for rate, _ in asked]
    for group, factor, (rate, decay) in zip(
        optimiser.param_groups, schedule.lr_lambdas, asked, strict=True
    ):
        now = rate * factor(schedule.last_epoch)
        group.update(initial_lr=rate, lr=now, weight_decay=decay)


@torch.no_grad()
def _share_statistics(fabric: Fabric, module: nn.Module) -> None:
    """Give every process rank 0's statistics, which are those that are saved."""
    if fabric.world_size == 1:
        return
    buffers = dict(module.named_buffers())
    sent = fabric.broadcast({name: value.cpu() for name, value in buffers.items()})
    for name, value in sent.items():
        buffers[name].copy_(value)
