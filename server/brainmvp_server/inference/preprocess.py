"""From a study on its native grid to model space: R, A, S, 1 mm, scaled, cropped.

The published evaluation pipeline, step by step: percentiles of the whole native volume, background
included (but see :mod:`.intensity` for what is padded); ``(x - p5) / (p95 - p5)``, not clipped;
axes to R, A, S; linear resampling; the box of voxels above zero in any channel, one voxel wider.
The order of work differs where the result does not: nothing outside the box is scaled or resampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidVolume, VolumeTooLarge
from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing
from brainmvp_server.imaging.grid import Affine, Box, Grid, Shape, bounding_box
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.reach import within
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.intensity import Scaled, Turned, window_of
from brainmvp_server.inference.resample import along_axes, interpolation, resampled_length

_MOST_VOXELS = 512**3
_SAME_SPACING = 1e-3
"""Spacings closer to the target than this, in mm, are not resampled (MONAI's affine tolerance)."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ModelSpace:
    """How model space lies in the native grid; enough to take a result back.

    Attributes:
        native: the first volume's grid.
        turned: voxels along R, A, S of the native grid's part that was worked on: all of it,
            unless the study was padded.
        full: voxels of that part, resampled.
        scale: target spacing over native spacing, along R, A, S; 1 where nothing is resampled.
        box: the part of the resampled volume that was kept.
        start: the first voxel along R, A, S of the part that was worked on.
    """

    native: Grid
    turned: Shape
    full: Shape
    scale: tuple[float, float, float]
    box: Box
    start: Shape = (0, 0, 0)

    @property
    def window(self) -> Box:
        """The part of the native grid, along R, A, S, that was worked on."""
        x, y, z = (first + n for first, n in zip(self.start, self.turned, strict=True))
        return Box(self.start, (x, y, z))

    @property
    def padded(self) -> bool:
        """Whether that is not all of it."""
        return self.turned != self.native.canonical().shape

    @property
    def resampled(self) -> bool:
        """Whether model space has another spacing than the native grid."""
        return self.scale != (1.0, 1.0, 1.0)

    @property
    def shape(self) -> Shape:
        """Voxels of model space."""
        return self.box.shape

    @property
    def affine(self) -> Affine:
        """(4, 4), voxel indices of model space to millimetres, RAS+."""
        step = np.diag([*self.scale, 1.0])
        step[:3, 3] = np.multiply(self.scale, self.box.start) + self.start
        return self.native.canonical().affine @ step


@dataclass(frozen=True)
class Coverage:
    """How much of the head a series shows.

    Attributes:
        head_ml: what is brighter than its background, in mL.
        field_share: how much of its field of view that is, 0 to 1.
        head_share: how much of the study's head its field of view covers, 0 to 1.
    """

    head_ml: float
    field_share: float
    head_share: float


@dataclass(frozen=True, eq=False)
class Prepared:
    """The real modalities of a study in model space.

    Attributes:
        space: how model space lies in the native grid.
        images: (X, Y, Z) float32 a modality, the shape of ``space``.
        warnings: what a reader should know.
        unknown: (X, Y, Z) a modality: voxels that its field of view does not reach, if any.
        coverage: by modality.
    """

    space: ModelSpace
    images: dict[Modality, Array]
    warnings: tuple[str, ...]
    unknown: dict[Modality, NDArray[np.bool_]] = field(default_factory=dict)
    coverage: dict[Modality, Coverage] = field(default_factory=dict)


def prepare(study: Study, rules: Preprocessing, limits: Limits = Limits()) -> Prepared:
    """Bring a study's volumes to model space.

    Args:
        limits: how little head a series may show without a warning.

    Raises:
        InvalidVolume: no voxel of the study is above its background, or one outshines all others
            so far that no network could take it.
    """
    canonical = study.native.grid.canonical()
    with ThreadPoolExecutor(max_workers=len(study.volumes)) as pool:
        turned = list(pool.map(Turned.of, study.volumes))
        content = _joined([one.content for one in turned])
        whole = Box((0, 0, 0), canonical.shape)
        window = window_of(content or whole, canonical, rules.field_of_view_mm)
        parts = list(
            pool.map(lambda one: Scaled.of(one.cropped(window), rules.percentiles), turned)
        )
        foreground = _joined([part.foreground for part in parts])
        if foreground is None:
            raise InvalidVolume(
                "no voxel is brighter than the background",
                remedy="Send volumes that hold an image",
                subject=study.native.modality.value,
            )
        scale = _scale(canonical.nominal_spacing, rules.spacing_mm)
        if scale == (1.0, 1.0, 1.0):
            box = foreground.grown(rules.crop_margin, window.shape)
            images = list(pool.map(lambda part: part.image(box), parts))
            full = window.shape
        else:
            x, y, z = (
                resampled_length(n, spacing, target)
                for n, spacing, target in zip(
                    window.shape, canonical.nominal_spacing, rules.spacing_mm, strict=True
                )
            )
            full = (x, y, z)
            _check_size(full)
            # Wide enough for the voxels that interpolation brightens, and for the margin.
            reach = 2 + math.ceil(rules.crop_margin * max(scale))
            region = foreground.grown(reach, window.shape)
            images, box = _resampled(parts, region, window.shape, full, scale, rules, pool)
    space = ModelSpace(study.native.grid, window.shape, full, scale, box, window.start)
    unknown = _unknown(study, space)
    coverage = {
        one.volume.modality: _coverage(part, one, unknown)
        for part, one in zip(parts, turned, strict=True)
    }
    modalities = [volume.modality for volume in study.volumes]
    return Prepared(
        space=space,
        images=dict(zip(modalities, images, strict=True)),
        warnings=_warnings(study, parts, space, coverage, limits),
        unknown=unknown,
        coverage=coverage,
    )


def _unknown(study: Study, space: ModelSpace) -> dict[Modality, NDArray[np.bool_]]:
    """Where in model space the volumes have no voxels, of those that do not reach all of it."""
    return {
        volume.modality: ~reached
        for volume in study.volumes
        if volume.field_of_view is not None
        and not (reached := within(volume.field_of_view, space.affine, space.shape)).all()
    }


def _coverage(
    part: Scaled, turned: Turned, unknown: Mapping[Modality, NDArray[np.bool_]]
) -> Coverage:
    volume = turned.volume
    beyond = unknown.get(volume.modality)
    return Coverage(
        head_ml=part.head * volume.grid.voxel_ml,
        field_share=part.head / turned.size,
        head_share=1.0 if beyond is None else 1.0 - float(beyond.mean()),
    )


def _resampled(
    parts: Sequence[Scaled],
    region: Box,
    turned: Shape,
    full: Shape,
    scale: tuple[float, float, float],
    rules: Preprocessing,
    pool: ThreadPoolExecutor,
) -> tuple[list[Array], Box]:
    """Resample the region of every volume that can hold foreground; crop to the exact box."""
    reach = _reach(region, scale, turned, full)
    matrices = [
        interpolation(np.arange(a, b) * step, n, start=first, stop=last)
        for a, b, step, n, first, last in zip(
            reach.start, reach.stop, scale, turned, region.start, region.stop, strict=True
        )
    ]
    images = list(pool.map(lambda part: along_axes(part.image(region), matrices), parts))
    exact = _joined([bounding_box(image > 0) for image in images])
    box = (exact.shifted(reach.start) if exact else reach).grown(rules.crop_margin, full)
    inner = box.shifted((-reach.start[0], -reach.start[1], -reach.start[2]))
    return [np.ascontiguousarray(image[inner.slices]) for image in images], box


def _check_size(full: Shape) -> None:
    """A header may claim voxels of any size; what they resample to must fit in memory."""
    if math.prod(full) > _MOST_VOXELS:
        raise VolumeTooLarge(
            f"at the model's spacing the study would have {' × '.join(map(str, full))} voxels",
            remedy="Check the spacing in its header, or crop it to the head",
        )


def _reach(region: Box, scale: tuple[float, float, float], turned: Shape, full: Shape) -> Box:
    """Resampled voxels that read only native voxels of ``region``, or the native border."""
    start, stop = [], []
    axes = zip(region.start, region.stop, scale, turned, full, strict=True)
    for a, b, step, whole, n in axes:
        start.append(math.ceil(a / step))
        stop.append(n if b == whole else math.floor((b - 1) / step) + 1)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _scale(
    spacing: tuple[float, float, float], target: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Native voxels a model voxel steps along each axis."""
    if all(abs(s - t) < _SAME_SPACING for s, t in zip(spacing, target, strict=True)):
        return 1.0, 1.0, 1.0
    x, y, z = (t / s for s, t in zip(spacing, target, strict=True))
    return x, y, z


def _joined(boxes: Sequence[Box | None]) -> Box | None:
    joined: Box | None = None
    for box in boxes:
        if box is not None:
            joined = box if joined is None else joined.joined(box)
    return joined


def _warnings(
    study: Study,
    parts: Sequence[Scaled],
    space: ModelSpace,
    coverage: Mapping[Modality, Coverage],
    limits: Limits,
) -> tuple[str, ...]:
    notes = [warning for volume in study.volumes for warning in volume.warnings]
    for part in parts:
        modality = part.turned.volume.modality
        shown = coverage[modality]
        for note in (
            *_background_notes(part, shown, space),
            *_coverage_notes(shown, limits),
        ):
            notes.append(f"{modality}: {note}")
    return tuple(notes)


def _background_notes(part: Scaled, shown: Coverage, space: ModelSpace) -> Iterator[str]:
    """What is unusual about the background of a volume."""
    turned = part.turned
    background = turned.background
    if background.darker:
        yield (
            f"its background is brighter than {background.darker:.0%} of the head; it is taken as "
            "darker than all of it"
        )
    if background.below is not None:
        yield (
            f"its background is {background.below:g}, far below the rest; it is taken as the "
            "darkest value of the rest"
        )
    if space.padded:
        sides = zip(space.turned, space.native.canonical().spacing, strict=True)
        yield (
            f"the head is {shown.field_share:.1%} of its field of view, which is padded; it is "
            f"taken as if it were cropped to {' × '.join(f'{n * mm:.0f}' for n, mm in sides)} mm, "
            f"as the model's training was, of which the head is {part.head / turned.size:.1%}"
        )
    if part.scale.range is None:
        yield (
            "the head fills so little of the field of view that the 5th and 95th percentile are "
            "equal; intensities are shifted but not scaled"
        )


def _coverage_notes(shown: Coverage, limits: Limits) -> Iterator[str]:
    if shown.head_ml < limits.head_ml:
        yield (
            f"it shows {shown.head_ml:.1f} mL of head, less than the {limits.head_ml:g} mL that a "
            "result can be trusted on"
        )
    if shown.head_share < limits.cover:
        yield (
            f"its field of view covers {shown.head_share:.0%} of the head, less than "
            f"{limits.cover:.0%}; beyond it the modality is missing"
        )
