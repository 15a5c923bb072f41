"""Tumours of many kinds: what they are made of, where, and which label each part has.

Labels are BraTS's: 1 core that does not enhance, 2 oedema, 4 enhancing tumour. A cavity after
surgery is no tumour: its label is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from brainmvp_training.synthetic.fields import Array, smooth_field
from brainmvp_training.synthetic.wide.heads import VOXEL_MM

Voxel = tuple[int, int, int]


class Part(IntEnum):
    """What a voxel of a lesion is made of; 0 is healthy tissue."""

    NECROSIS = 1
    OEDEMA = 2
    SOLID = 3
    ENHANCING = 4
    CYST = 5
    BLOOD = 6
    CAVITY = 7
    SCAR = 8  # of white matter: inflammation, small vessels, an old infarct


LABELS: dict[Part, int] = {
    Part.NECROSIS: 1,
    Part.OEDEMA: 2,
    Part.SOLID: 1,
    Part.ENHANCING: 4,
    Part.CYST: 1,
    Part.BLOOD: 1,
    Part.CAVITY: 0,
    Part.SCAR: 0,
}


class Kind(StrEnum):
    """How a tumour is built."""

    RING = "ring"
    SOLID = "solid"
    PATCHY = "patchy"
    NOT_ENHANCING = "not-enhancing"
    CYSTIC = "cystic"
    BLEEDING = "bleeding"
    OPERATED = "operated"
    SEVERAL = "several"


_KINDS: dict[Kind, float] = {
    Kind.RING: 0.26,
    Kind.SOLID: 0.14,
    Kind.PATCHY: 0.12,
    Kind.NOT_ENHANCING: 0.22,
    Kind.CYSTIC: 0.05,
    Kind.BLEEDING: 0.05,
    Kind.OPERATED: 0.06,
    Kind.SEVERAL: 0.10,
}


@dataclass(frozen=True)
class Tumour:
    """One tumour to grow.

    Attributes:
        radius: of the core, mm.
        rim: thickness of the enhancing wall, mm.
        reach: how far oedema goes beyond the core, mm; 0 for none.
        push: share of a radius by which tissue is moved aside.
    """

    kind: Kind
    radius: float
    rim: float
    reach: float
    push: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Tumour:
        """A random one; one of four is small."""
        kind = Kind(str(rng.choice(list(_KINDS), p=list(_KINDS.values()))))
        small = kind is Kind.SEVERAL or rng.random() < 0.25
        median, spread = (6.5, 0.3) if small else (15.0, 0.35)
        radius = float(np.clip(rng.lognormal(np.log(median), spread), 3.5, 32))
        dry = 0.35 if kind is Kind.NOT_ENHANCING else 0.12
        reach = 0.0 if rng.random() < dry else float(rng.uniform(4, 26))
        push = float(rng.uniform(0, 0.45)) if rng.random() < 0.6 else 0.0
        return cls(kind, radius, float(rng.uniform(2, 7)), reach, push)

    @property
    def enhances(self) -> bool:
        """Whether a part takes up contrast agent."""
        return self.kind is not Kind.NOT_ENHANCING


def grow(
    parts: NDArray[np.uint8],
    tumour: Tumour,
    centre: Voxel,
    nervous: Array,
    white: Array,
    rng: np.random.Generator,
) -> None:
    """Grow a tumour into ``parts`` (X, Y, Z), within what is ``nervous`` tissue.

    Args:
        nervous, white: shares of nervous tissue and of white matter, 0 to 1.
    """
    count = int(rng.integers(2, 5)) if tumour.kind is Kind.SEVERAL else 1
    radius = tumour.radius
    for _ in range(count):
        _add_focus(parts, tumour, radius, centre, nervous, white, rng)
        centre = draw_centre(nervous, rng)
        radius = tumour.radius * float(rng.uniform(0.6, 1.3))


def draw_centre(nervous: Array, rng: np.random.Generator) -> Voxel:
    """A voxel of nervous tissue."""
    candidates = np.flatnonzero(nervous > 0.7)
    x, y, z = np.unravel_index(int(rng.choice(candidates)), nervous.shape)
    return int(x), int(y), int(z)


def _add_focus(
    parts: NDArray[np.uint8],
    tumour: Tumour,
    radius: float,
    centre: Voxel,
    nervous: Array,
    white: Array,
    rng: np.random.Generator,
) -> None:
    box = box_around(centre, radius * 1.5 + tumour.reach * 1.4 + 4, parts.shape)
    inside = nervous[box] > 0.35
    distance = bent_distance(box, centre, radius, rng)
    shape = distance.shape
    core = inside & (distance < radius)
    extent = tumour.reach * (0.25 + 0.75 * white[box]) * (1 + 0.35 * smooth_field(shape, 6, rng))
    swollen = inside & ~core & (distance < radius + extent) & (tumour.reach > 0)
    into = parts[box]
    into[swollen & (into == 0)] = Part.OEDEMA
    inner = distance < radius - tumour.rim * (1 + 0.4 * smooth_field(shape, 4, rng))
    _fill(into, core, inner, tumour, rng)


def _fill(
    into: NDArray[np.uint8],
    core: NDArray[np.bool_],
    inner: NDArray[np.bool_],
    tumour: Tumour,
    rng: np.random.Generator,
) -> None:
    """What core and its inside are made of."""
    grain = smooth_field(core.shape, float(rng.uniform(2.5, 6)), rng)
    kind = tumour.kind
    if kind is Kind.NOT_ENHANCING:
        into[core] = Part.SOLID
        into[core & (grain > 1.1)] = Part.CYST
    elif kind is Kind.PATCHY:
        into[core] = Part.SOLID
        into[core & (grain > rng.uniform(-0.6, 0.7))] = Part.ENHANCING
    elif kind is Kind.SOLID or (kind is Kind.SEVERAL and rng.random() < 0.5):
        into[core] = Part.ENHANCING
        into[core & inner & (grain > 1.2)] = Part.NECROSIS
    else:
        filling = {
            Kind.CYSTIC: Part.CYST,
            Kind.OPERATED: Part.CAVITY,
        }.get(kind, Part.NECROSIS)
        into[core] = Part.ENHANCING
        into[core & inner] = filling
        if kind is Kind.OPERATED or rng.random() < 0.3:  # the wall is not closed
            into[core & ~inner & (grain < rng.uniform(-0.8, 0.6))] = Part.SOLID
        if kind is Kind.BLEEDING:
            into[core & inner & (grain > 0)] = Part.BLOOD


def box_around(centre: Voxel, reach: float, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The voxels within ``reach`` mm of the centre along each axis."""
    voxels = int(np.ceil(reach / VOXEL_MM))
    return tuple(
        slice(max(c - voxels, 0), min(c + voxels + 1, n))
        for c, n in zip(centre, shape, strict=True)
    )


def bent_distance(
    box: tuple[slice, ...], centre: Voxel, radius: float, rng: np.random.Generator
) -> Array:
    """Distance in mm from the centre: an ellipsoid's, bent by coarse and fine noise."""
    stretch = np.exp(rng.normal(0, 0.22, 3))
    along = [
        (np.arange(part.start, part.stop, dtype=np.float32) - c) * np.float32(VOXEL_MM * s)
        for part, c, s in zip(box, centre, stretch, strict=True)
    ]
    x, y, z = np.meshgrid(*along, indexing="ij", sparse=True)
    squares: Array = np.asarray(x * x + y * y + z * z, np.float32)
    rough = float(rng.uniform(0.15, 0.45))
    noise = rough * smooth_field(squares.shape, max(radius * 0.8 / VOXEL_MM, 2.5), rng)
    noise += 0.1 * smooth_field(squares.shape, 2, rng)
    bent: Array = np.sqrt(squares) + np.float32(radius) * noise
    return bent
