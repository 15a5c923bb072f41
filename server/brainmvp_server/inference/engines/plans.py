"""Plans that TensorRT builds for one GPU: what each was built for, and whether it fits here.

A plan is a program for one GPU, one driver and one version of TensorRT. Beside each lies a record
of what it was built for. Nothing here needs a GPU.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from brainmvp_models.bundle import digest_of
from brainmvp_models.errors import EngineUnavailable
from brainmvp_models.manifest import Digest, Precision
from brainmvp_models.task import Frozen

WINDOWS = 8
"""Largest batch of a plan where nobody says otherwise."""


class Machine(Frozen):
    """What a plan is built for.

    Attributes:
        capability: compute capability of the GPU.
        tensorrt: version of TensorRT, such as 10.16.1.11.
        driver: version of the GPU's driver.
    """

    gpu: str
    capability: tuple[int, int]
    driver: str
    tensorrt: str

    @property
    def key(self) -> str:
        """A short name for files: the GPU in words, then a digest of all of it."""
        words = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-")[:40]
        return f"{words}-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]}"


class PlanRecord(Frozen):
    """What a plan was built from and for.

    Attributes:
        network: digest of the network's file.
        windows: the largest batch it takes.
        plan: digest of the plan itself.
    """

    network: Digest
    precision: Precision
    windows: int
    built_for: Machine
    hardware_compatible: bool
    version_compatible: bool
    plan: Digest

    def mismatch(self, network: str, windows: int, here: Machine) -> str | None:
        """Why the plan must not be run here, in words; None where it may.

        Another driver counts as another machine: a plan may then run, but was not measured with
        it. A plan that is compatible with other hardware or versions may have any driver.
        """
        built = self.built_for
        if self.network != network:
            return "it was built from another network"
        if self.windows < windows:
            return f"it takes {self.windows} windows at once, not {windows}"
        if not self._runs_in(here.tensorrt):
            return f"it was built by TensorRT {built.tensorrt}, here is {here.tensorrt}"
        if built.capability != here.capability:
            return f"it was built for compute capability {_dotted(built)}, here is {_dotted(here)}"
        if built.gpu != here.gpu and not self.hardware_compatible:
            return f"it was built for {built.gpu}, here is {here.gpu}"
        portable = self.hardware_compatible or self.version_compatible
        if built.driver != here.driver and not portable:
            return f"it was built with driver {built.driver}, here is {here.driver}"
        return None

    def _runs_in(self, version: str) -> bool:
        built, here = _numbers(self.built_for.tensorrt), _numbers(version)
        if self.version_compatible:
            return here[:1] == built[:1] and here >= built
        return here == built


@dataclass(frozen=True)
class EnginePlan:
    """A plan and its record."""

    record: PlanRecord
    content: bytes


@dataclass(frozen=True)
class PlanCache:
    """A folder of plans, each with its record beside it."""

    folder: Path

    def find(self, network: str, windows: int, here: Machine) -> EnginePlan | str:
        """The plan that fits, or why none does, in words."""
        reasons = []
        for path in sorted(self.folder.glob("*.json")):
            record = _record(path)
            if record is None:
                reasons.append("its record cannot be read")
                continue
            reason = record.mismatch(network, windows, here)
            if reason is not None:
                reasons.append(reason)
                continue
            plan = path.with_suffix(".plan")
            if plan.is_file() and digest_of(plan) == record.plan:
                return EnginePlan(record, plan.read_bytes())
            reasons.append("it is missing or damaged")
        return reasons[-1] if reasons else "there is none"

    def keep(self, plan: EnginePlan) -> None:
        """Write a plan, then its record, each whole or not at all.

        Raises:
            EngineUnavailable: the folder cannot be written.
        """
        record = plan.record
        name = f"{record.network[7:19]}-{record.precision}-{record.windows}-{record.built_for.key}"
        write_whole(self.folder / f"{name}.plan", plan.content)
        write_whole(self.folder / f"{name}.json", record.model_dump_json(indent=2).encode())

    def timings(self, here: Machine) -> Path:
        """The file of kernel timings taken on this machine, for later builds."""
        return self.folder / f"{here.key}.timings"


@dataclass(frozen=True)
class Profile:
    """The batches that a plan takes: at least one window, at best and at most ``windows``."""

    channels: int
    size: tuple[int, int, int]
    windows: int

    def shape(self, windows: int) -> tuple[int, ...]:
        """(N, C, h, w, d) of so many windows."""
        return (windows, self.channels, *self.size)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Smallest, best and largest input."""
        return self.shape(1), self.shape(self.windows), self.shape(self.windows)


def pieces(windows: int, most: int) -> tuple[slice, ...]:
    """A batch of any size as parts that a plan takes."""
    return tuple(slice(start, min(start + most, windows)) for start in range(0, windows, most))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of the cache aside and rename it.

    Raises:
        EngineUnavailable: the folder cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise EngineUnavailable(
            f"what was built for the GPU cannot be kept ({error.strerror})",
            remedy="Name a folder that can be written with --engine-cache",
            subject=path.parent.name,
        ) from None


def _record(path: Path) -> PlanRecord | None:
    try:
        return PlanRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:4])


def _dotted(machine: Machine) -> str:
    return ".".join(map(str, machine.capability))
