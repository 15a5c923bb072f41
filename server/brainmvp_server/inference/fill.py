"""Fill the channels whose modality is missing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import (
    MissingModality,
    RegistrationFailed,
    TemplateMismatch,
    UnknownModality,
)
from brainmvp_models.modality import Modality
from brainmvp_models.task import Channel, FillPolicy, Task
from brainmvp_models.templates import TEMPLATE_SHAPE, TemplateBank
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Affine, Grid, Shape
from brainmvp_server.inference.preprocess import ModelSpace, Prepared

Array = NDArray[np.float32]

_TEMPLATE_CENTRE = (-119.5, 119.5, 77.0)
"""Of the templates' grid, R-A-S mm of SRI24's world, whose grid it is."""


@dataclass(frozen=True)
class Filled:
    """One channel that is not the patient's: how it was filled and by which template."""

    modality: Modality
    policy: FillPolicy
    template: Modality | None


@dataclass(frozen=True)
class Channels:
    """Which part of the network's input is this patient's.

    Attributes:
        real: the modalities that came with the study.
        filled: the others.
    """

    real: tuple[Modality, ...]
    filled: tuple[Filled, ...]


def check_modalities(given: tuple[Modality, ...], task: Task, policy: FillPolicy) -> None:
    """Refuse a study that the task cannot be run on, before any voxel is read.

    Raises:
        UnknownModality: the model has no channel for a modality.
        MissingModality: a required one is missing, or any one under policy ``none``, or all.
    """
    takes = ", ".join(modality.value for modality in task.modalities)
    for modality in given:
        if modality not in task.modalities:
            raise UnknownModality(
                f"the model has no channel for {modality}",
                remedy=f"It takes: {takes}",
                subject=modality.value,
            )
    missing = [c for c in task.channels if c.modality not in given]
    required = [c.modality.value for c in missing if c.required]
    if required:
        raise MissingModality(
            f"the model requires {', '.join(required)}",
            remedy="Add it to the study",
        )
    if missing and policy == "none":
        names = ", ".join(c.modality.value for c in missing)
        raise MissingModality(
            f"{names} missing, and the fill policy is 'none'",
            remedy="Add the missing modalities, or choose center, grid, register or zeros",
        )
    if not given:
        raise MissingModality(
            "the study holds no modality", remedy=f"Send at least one of: {takes}"
        )


def fill_channels(
    prepared: Prepared,
    task: Task,
    bank: TemplateBank,
    policy: FillPolicy,
    to_templates: Callable[[], Affine] | None = None,
) -> tuple[Array, Channels]:
    """Stack the channels in the task's order, templates in the place of what is missing.

    Args:
        to_templates: for policy ``register``, asked only where a template is placed: the (4, 4)
            matrix that takes a point of the study's world, R-A-S mm, to SRI24's.

    Returns:
        (C, X, Y, Z) float32, and what is real of it. The prepared images are spent: each goes as
        soon as it is stacked, for they are the largest arrays of a study.

    Raises:
        TemplateMismatch: a template is missing, policy ``grid`` meets a study off that grid, or
            ``register`` one on it.
        RegistrationFailed: see ``to_templates``.
    """
    space = prepared.space
    if policy == "register":
        bank = _bank_in_place(bank, task, prepared, to_templates)
    image = np.zeros((len(task.channels), *space.shape), dtype=np.float32)
    given = tuple(m for m in task.modalities if m in prepared.images)
    filled = []
    for index, channel in enumerate(task.channels):
        if channel.modality in given:
            image[index] = prepared.images.pop(channel.modality)
            beyond = prepared.unknown.get(channel.modality)
            if beyond is not None:
                image[index][beyond] = _stand_in(channel, space, bank, policy)[beyond]
            continue
        template = None if policy == "zeros" else channel.filler
        filled.append(Filled(channel.modality, policy, template))
        if template is not None:
            place_template(image[index], _template(bank, channel), space, policy)
            image[index] *= np.float32(bank.step)
    return image, Channels(given, tuple(filled))


def _stand_in(channel: Channel, space: ModelSpace, bank: TemplateBank, policy: FillPolicy) -> Array:
    """What a channel holds where its modality is missing; zeros where no template can be placed."""
    image = np.zeros(space.shape, dtype=np.float32)
    if policy not in ("zeros", "none") and channel.filler in bank.volumes:
        with suppress(TemplateMismatch):
            place_template(image, _template(bank, channel), space, policy)
            image *= np.float32(bank.step)
    return image


def place_template(
    channel: Array, template: NDArray[Any], space: ModelSpace, policy: FillPolicy
) -> None:
    """Write the template's part of model space into ``channel``; zero where there is none.

    ``grid``: the study lies on the template's grid, so the same voxel indices hold; the study's own
    foreground box cuts the template. ``register``: the template was brought to model space
    already. ``center``: the centre of the template lies on the centre of
    model space, ``shift = (template - study) // 2`` as in pre-training.

    Raises:
        TemplateMismatch: policy ``grid``, and the study has another shape than the template.
    """
    if policy == "register":
        channel[:] = template
        return
    if policy == "grid":
        if space.padded or space.full != template.shape:
            own = space.native.canonical().shape if space.padded else space.full
            raise TemplateMismatch(
                f"fill policy 'grid' needs a study of {_size(template.shape)} voxels of 1 mm; "
                f"this one has {_size(own)}",
                remedy="Choose the policy center or zeros, or resample the study to that grid",
            )
        shift = space.box.start
    else:
        x, y, z = ((t - s) // 2 for t, s in zip(template.shape, space.shape, strict=True))
        shift = (x, y, z)
    into, out_of = [], []
    for offset, size, available in zip(shift, channel.shape, template.shape, strict=True):
        first, last = max(0, -offset), min(size, available - offset)
        into.append(slice(first, max(first, last)))
        out_of.append(slice(first + offset, max(first, last) + offset))
    channel[tuple(into)] = template[tuple(out_of)]


def _bank_in_place(
    bank: TemplateBank,
    task: Task,
    prepared: Prepared,
    to_templates: Callable[[], Affine] | None,
) -> TemplateBank:
    """The bank in model space, where a channel or a part of one is to be filled from it.

    Raises:
        TemplateMismatch, RegistrationFailed: a channel is missing, and it cannot be brought there.
    """
    if any(modality not in prepared.images for modality in task.modalities):
        return _registered(bank, task, prepared.space, to_templates)
    if not prepared.unknown:
        return bank
    try:
        return _registered(bank, task, prepared.space, to_templates)
    except (TemplateMismatch, RegistrationFailed):
        return TemplateBank({})  # what a series does not reach is then 0


def _registered(
    bank: TemplateBank,
    task: Task,
    space: ModelSpace,
    to_templates: Callable[[], Affine] | None,
) -> TemplateBank:
    """The bank in model space: each template interpolated once, through the study's registration.

    Raises:
        TemplateMismatch: the study lies on the templates' grid, they lie on another one than
            SRI24's, or nothing here can register.
    """
    spacing = task.preprocessing.spacing_mm
    lengths = [round(n / edge) for n, edge in zip(TEMPLATE_SHAPE, spacing, strict=True)]
    shape = (lengths[0], lengths[1], lengths[2])
    if any(template.shape != shape for template in bank.volumes.values()):
        raise TemplateMismatch(
            "fill policy 'register' needs templates on the SRI24 grid, and the bundle's lie on "
            "another one",
            remedy="Choose the policy center or zeros",
        )
    if not space.padded and space.full == shape:
        raise TemplateMismatch(
            "fill policy 'register' is for studies in their own space, and this one lies on the "
            "templates' grid",
            remedy="Choose the policy grid",
        )
    if to_templates is None:
        raise TemplateMismatch(
            "fill policy 'register' needs the atlas, which this predictor has not",
            remedy="Choose the policy center or zeros, or predict with brainmvp.Predictor",
        )
    across = to_templates()
    affine = np.diag([*spacing, 1.0])
    half = [edge * (n - 1) / 2 for edge, n in zip(spacing, shape, strict=True)]
    affine[:3, 3] = np.subtract(_TEMPLATE_CENTRE, half)
    there, here = Grid(shape, affine), Grid(space.shape, space.affine)
    wanted = {channel.filler for channel in task.channels}
    return TemplateBank(
        {
            modality: interpolated(template.astype(np.float32), there, here, across)[0]
            for modality, template in bank.volumes.items()
            if modality in wanted
        },
        bank.step,
    )


def _template(bank: TemplateBank, channel: Channel) -> NDArray[Any]:
    try:
        return bank.volumes[channel.filler]
    except KeyError:
        raise TemplateMismatch(
            f"the bundle has no template for {channel.filler}",
            remedy="Add the modality to the study, or choose the policy zeros",
            subject=channel.modality.value,
        ) from None


def _size(shape: tuple[int, ...] | Shape) -> str:
    return " × ".join(map(str, shape))
