"""Which parts of the one time are which of the other."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import carried
from brainmvp_server.inference.parts import Components
from brainmvp_server.preparation.rigid import RigidTransform

LEAST_SHARED = 0.1
"""Parts are the same where they share this much of the smaller one: less is how far two rigid
alignments of one head may differ."""
REACH_MM = 2.0
"""Parts that share nothing with any other are the same where voxels of both lie this close."""
_STEP_MM = 1.0

Pair = tuple[int, int]
"""A part of the earlier and one of the later time, by number."""


@dataclass(frozen=True)
class Match:
    """One lesion: the parts it is of at each time, by number; one of the two may be empty."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def match(
    before: Components | None, after: Components | None, to_before: RigidTransform
) -> tuple[Match, ...]:
    """Match the parts of two times; each belongs to one match.

    Parts that were parted or grew together are one match: what is linked, directly or through
    others, is one lesion.

    Args:
        to_before: takes a point of the later world to the earlier one.
    """
    ours = range(1, len(before.voxels) + 1) if before else range(0)
    theirs = range(1, len(after.voxels) + 1) if after else range(0)
    pairs: set[Pair] = set()
    if before is not None and after is not None:
        pairs = _shared(before, after, to_before)
        alone = set(ours) - {a for a, _ in pairs}, set(theirs) - {b for _, b in pairs}
        if all(alone):
            pairs |= _near(before, after, to_before, alone)
    return tuple(_groups(ours, theirs, pairs))


def _shared(before: Components, after: Components, to_before: RigidTransform) -> set[Pair]:
    """Pairs that share enough of the smaller one: what either finds of itself in the other."""
    forth = _counted(before, after, to_before.inverse)
    back = {(a, b): n for (b, a), n in _counted(after, before, to_before).items()}
    pairs = set()
    for a, b in forth.keys() | back.keys():
        found = (
            forth.get((a, b), 0) * before.grid.voxel_ml,
            back.get((a, b), 0) * after.grid.voxel_ml,
        )
        if max(found) >= LEAST_SHARED * min(before.volume_ml(a), after.volume_ml(b)):
            pairs.add((a, b))
    return pairs


def _near(
    before: Components,
    after: Components,
    to_before: RigidTransform,
    alone: tuple[set[int], set[int]],
) -> set[Pair]:
    """Pairs of parts that are alone, with a voxel of the one within reach of one of the other."""
    steps = np.arange(-REACH_MM, REACH_MM + _STEP_MM / 2, _STEP_MM)
    ball = [np.array(step) for step in itertools.product(steps, repeat=3)]
    pairs: set[Pair] = set()
    for shift in ball:
        if np.linalg.norm(shift) <= REACH_MM:
            pairs |= _counted(before, after, to_before.inverse, shift, alone[0]).keys()
            back = _counted(after, before, to_before, shift, alone[1])
            pairs |= {(a, b) for b, a in back}
    return {(a, b) for a, b in pairs if a in alone[0] and b in alone[1]}


def _counted(
    one: Components,
    other: Components,
    way: RigidTransform,
    shift: NDArray[np.float64] | None = None,
    only: Collection[int] | None = None,
) -> dict[Pair, int]:
    """How many voxels of each part of the one lie in each part of the other.

    Args:
        way: takes a point of the one's world to the other's.
        shift: (3,) mm in the other's world, added to each.
        only: the parts of the one that are looked at; None for all.
    """
    looked = one.numbers if only is None else np.isin(one.numbers, list(only))
    inside = np.argwhere(looked)
    points = way.apply(carried(inside + np.array(one.start), one.grid.affine))
    if shift is not None:
        points = points + shift
    places = np.rint(carried(points, other.grid.inverse)).astype(np.intp)
    places -= np.array(other.start)
    reached = ((places >= 0) & (places < other.numbers.shape)).all(axis=1)
    mine = one.numbers[tuple(inside[reached].T)]
    theirs = other.numbers[tuple(places[reached].T)]
    both = theirs > 0
    pairs, counts = np.unique(np.stack([mine[both], theirs[both]]), axis=1, return_counts=True)
    return {(int(a), int(b)): int(n) for (a, b), n in zip(pairs.T, counts, strict=True)}


def _groups(ours: Iterable[int], theirs: Iterable[int], pairs: set[Pair]) -> Iterator[Match]:
    """The connected groups of parts that pairs link, those with the smallest number first."""
    linked: dict[tuple[str, int], set[tuple[str, int]]] = {("before", a): set() for a in ours}
    linked |= {("after", b): set() for b in theirs}
    for a, b in pairs:
        linked["before", a].add(("after", b))
        linked["after", b].add(("before", a))
    while linked:
        group, edge = set(), {next(iter(linked))}
        while edge:
            group |= edge
            edge = {near for one in edge for near in linked.pop(one)} - group
        yield Match(*(_of(group, time) for time in ("before", "after")))


def _of(group: set[tuple[str, int]], time: str) -> tuple[int, ...]:
    return tuple(sorted(number for when, number in group if when == time))
