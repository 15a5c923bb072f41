"""Reading checkpoints of the published code: pre-trained, fine-tuned and DDP-prefixed."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from brainmvp_models.bundle import digest_of
from brainmvp_models.errors import InvalidCheckpoint
from brainmvp_models.task import Task
from brainmvp_models.templates import TemplateBank
from brainmvp_training.networks import (
    SIZES,
    ClassificationNetwork,
    NetworkSize,
    SegmentationNetwork,
)

Kind = Literal["pre-trained", "segmentation", "classification"]

_DDP = "module."
_PRETRAINED_ENCODER = "encoder.uniformer."
_REMEDY = "Give a file that torch.save wrote with a state_dict, or a task that fits this one"
_SHOWN = 8


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's weights under the names our networks use, and what they reveal.

    Attributes:
        kind: what the file was trained for.
        size: the named size that widths and depths match.
        channels: input channels of the first convolution.
        outputs: output channels or classes; 0 for a pre-trained file.
        state: the state dict without DDP or pre-training prefixes and without ``rep_template``.
        templates: the distilled templates, where the file holds ``rep_template``.
        digest: ``sha256:…`` of the file.
    """

    kind: Kind
    size: NetworkSize
    channels: int
    outputs: int
    state: Mapping[str, Tensor]
    templates: TemplateBank | None
    digest: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running any code that it may hold.

    Raises:
        InvalidCheckpoint: no such file, not a checkpoint, more than tensors in it, or no
            BrainMVP network.
    """
    state = _plain_names(_load_tensors(path))
    bank = state.pop("rep_template", None)
    size = _named_size(state, path.name)
    kind, outputs = _kind_and_outputs(state, path.name)
    return Checkpoint(
        kind=kind,
        size=size,
        channels=state["encoder.patch_embed1.proj.weight"].shape[1],
        outputs=outputs,
        state=state,
        templates=None if bank is None else TemplateBank.from_parameter(bank.numpy()),
        digest=digest_of(path),
    )


def read_templates(path: Path) -> TemplateBank:
    """The templates in a folder of NIfTI files, or in a pre-trained file.

    Raises:
        TemplateMismatch, InvalidCheckpoint: there are none, or they cannot be read.
    """
    if path.is_dir():
        return TemplateBank.from_folder(path)
    found = read_checkpoint(path).templates
    if found is None:
        raise InvalidCheckpoint(
            "holds no rep_template",
            remedy="Give a folder of NIfTI templates or a pre-trained file",
            subject=path.name,
        )
    return found


def load_network(checkpoint: Checkpoint, task: Task) -> nn.Module:
    """The checkpoint's network in evaluation mode, every key and shape checked against ``task``.

    Raises:
        InvalidCheckpoint: it does not fit; the message lists what differs.
    """
    differences = _unfit(checkpoint, task)
    if differences:
        raise InvalidCheckpoint(
            f"does not fit task '{task.name}': {'; '.join(differences)}", remedy=_REMEDY
        )
    build = SegmentationNetwork if task.kind == "segmentation" else ClassificationNetwork
    network = build(checkpoint.size, len(task.channels), task.outputs.count)
    differences = key_differences(network.state_dict(), checkpoint.state)
    if differences:
        raise InvalidCheckpoint(
            f"does not fit the {checkpoint.size.name} network: {'; '.join(differences)}",
            remedy=_REMEDY,
        )
    network.load_state_dict(dict(checkpoint.state), strict=True)
    return network.eval()


def _load_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InvalidCheckpoint("no such file", remedy="Check the path", subject=path.name)
    zipped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():  # torch asks users to report unusual pickles to it
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if not zipped and not _pickled(path):
            raise _unreadable(path, error) from None
        raise InvalidCheckpoint(
            "is refused: it holds more than tensors, so loading it could run code",
            remedy="Save only the state_dict: torch.save({'state_dict': model.state_dict()}, FILE)",
            subject=path.name,
        ) from None
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise _unreadable(path, error) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        raise InvalidCheckpoint("holds no state_dict", remedy=_REMEDY, subject=path.name)
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise InvalidCheckpoint(
            "its state_dict holds more than named tensors", remedy=_REMEDY, subject=path.name
        )
    return state


def _unreadable(path: Path, error: Exception) -> InvalidCheckpoint:
    return InvalidCheckpoint(
        f"cannot be read as a checkpoint ({type(error).__name__})",
        remedy="Give a complete file that torch.save wrote",
        subject=path.name,
    )


def _pickled(path: Path) -> bool:
    """Whether the file begins as torch's older, unzipped format and any other pickle does."""
    with path.open("rb") as file:
        return file.read(1) == pickle.PROTO


def _plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys without the prefixes of DDP and of pre-training."""
    plain = {}
    for key, tensor in state.items():
        name = key.removeprefix(_DDP)
        if name.startswith(_PRETRAINED_ENCODER):
            name = "encoder." + name.removeprefix(_PRETRAINED_ENCODER)
        plain[name] = tensor
    return plain


def _named_size(state: Mapping[str, Tensor], subject: str) -> NetworkSize:
    stages = (1, 2, 3, 4)
    embeds = [state.get(f"encoder.patch_embed{stage}.proj.weight") for stage in stages]
    if any(embed is None or embed.ndim != 5 for embed in embeds):
        raise InvalidCheckpoint(
            "holds no BrainMVP encoder (encoder.patch_embed1…4 are missing)",
            remedy=_REMEDY,
            subject=subject,
        )
    widths = tuple(embed.shape[0] for embed in embeds if embed is not None)
    depths = tuple(_depth(state, stage) for stage in stages)
    for size in SIZES:
        if (size.widths, size.depths) == (widths, depths):
            return size
    known = "; ".join(f"{s.name}: widths {s.widths}, depths {s.depths}" for s in SIZES)
    raise InvalidCheckpoint(
        f"has widths {widths} and depths {depths}, which no named size has",
        remedy=f"Known sizes are {known}",
        subject=subject,
    )


def _depth(state: Mapping[str, Tensor], stage: int) -> int:
    block = re.compile(rf"encoder\.blocks{stage}\.(\d+)\.")
    found = {match.group(1) for key in state if (match := block.match(key))}
    return len(found)


def _kind_and_outputs(state: Mapping[str, Tensor], subject: str) -> tuple[Kind, int]:
    if any(key.startswith("decoder.out_1") for key in state):
        return "pre-trained", 0
    heads: tuple[tuple[Kind, str], ...] = (
        ("segmentation", "decoder.out.conv.conv.weight"),
        ("classification", "head.weight"),
    )
    for kind, key in heads:
        if key in state and state[key].ndim > 0:
            return kind, state[key].shape[0]
    raise InvalidCheckpoint(
        "has neither a decoder (decoder.out) nor a classification head (head)",
        remedy=_REMEDY,
        subject=subject,
    )


def _unfit(checkpoint: Checkpoint, task: Task) -> list[str]:
    differences = []
    if checkpoint.kind != task.kind:
        differences.append(f"it is a {checkpoint.kind} checkpoint, the task is {task.kind}")
    elif checkpoint.outputs != task.outputs.count:
        differences.append(f"{checkpoint.outputs} outputs, the task has {task.outputs.count}")
    if checkpoint.channels != len(task.channels):
        differences.append(f"{checkpoint.channels} channels, the task has {len(task.channels)}")
    return differences


def key_differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps one state dict from fitting another, in words; empty where it fits."""
    reshaped = [
        f"{key} is {tuple(given[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    return [
        f"{what} {_listed(keys)}"
        for what, keys in (
            ("missing", [key for key in wanted if key not in given]),
            ("unexpected", [key for key in given if key not in wanted]),
            ("other shape:", reshaped),
        )
        if keys
    ]


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
