"""Compare two times of one patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import ImplausibleBrain, InvalidInput, NoBrain
from brainmvp_server.comparison.align import Alignment, align
from brainmvp_server.comparison.change import Thresholds
from brainmvp_server.comparison.lesions import Drawn, StructureChange, compared
from brainmvp_server.comparison.visit import Visit, kinds_of
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.brain_surface import Brain
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.preparation.brain import brain_of
from brainmvp_server.preparation.brain_frame import shown_brain
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.inspect import inspect_series

FindingBrains = Callable[[CancelToken], AbstractContextManager[BrainNetworks]]
"""Lends the networks that find brains, for one study at a time."""

TIMES = ("before", "after")
_UNLIKE = 1.2
"""Slices that differ by more than this factor are told."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two times, in one world.

    Attributes:
        before, after: the earlier and the later time.
        brains: of each, in its mask's world; None where none was found.
        structures: what both masks can be compared in.
        warnings: what a reader should know.
    """

    before: Visit
    after: Visit
    alignment: Alignment
    brains: tuple[Brain | None, Brain | None]
    structures: tuple[StructureChange, ...]
    thresholds: Thresholds
    warnings: tuple[str, ...]


def compare(
    before: Visit,
    after: Visit,
    finding_brains: FindingBrains,
    thresholds: Thresholds,
    cancel: CancelToken | None = None,
) -> Comparison:
    """Align two times, match their lesions and tell how each has changed.

    Each mask is measured on its own grid: nothing that is measured was interpolated.

    Args:
        finding_brains: for series that show whole heads.

    Raises:
        RegistrationFailed: the two do not show the same head.
        InvalidInput: the two masks have no structure in common.
        EngineFailed, EngineUnavailable: the networks that find brains cannot be run.
        BrainMVPError: the reason of ``cancel``.
    """
    cancel = cancel or CancelToken()
    kinds, unmatched = kinds_of(before, after)
    if not kinds and unmatched:
        raise InvalidInput(
            f"the two results have no structure in common ({', '.join(unmatched)})",
            remedy="Compare results of one model, or give masks with the same labels",
        )
    found = [_brain(visit, finding_brains, cancel) for visit in (before, after)]
    (there, _), (here, _) = found
    cancel.check()
    alignment = align(before, after, (_mask(there), _mask(here)))
    cancel.check()
    exact = before.same_as(after)
    structures = tuple(
        compared(
            kind,
            Drawn.of(before, kind, there, exact=exact),
            Drawn.of(after, kind, here, exact=exact),
            alignment.to_before,
            thresholds,
        )
        for kind in kinds
    )
    warnings = [
        *(f"{time}: {note}" for time, (_, note) in zip(TIMES, found, strict=True) if note),
        *_differences(before, after, alignment),
    ]
    if unmatched:
        warnings.append(f"only one of the two has: {', '.join(unmatched)}")
    return Comparison(
        before, after, alignment, (there, here), structures, thresholds, tuple(warnings)
    )


def _brain(
    visit: Visit, finding_brains: FindingBrains, cancel: CancelToken
) -> tuple[Brain | None, str]:
    """The brain of the series that a mask was drawn on, or why none is known."""
    shown = visit.shown
    looked = inspect_series(shown)
    if looked.extracted:
        return shown_brain(Study((shown,))), ""
    if not looked.head:
        return None, "neither a whole head nor a brain: sides and depths are not known"
    try:
        with finding_brains(cancel) as networks:
            mask = brain_of(shown, networks, cancel).mask
    except (NoBrain, ImplausibleBrain) as error:
        return None, f"sides and depths are not known: {error.problem}"
    return Brain(mask, shown.grid, np.eye(4), np.array([1.0, 0.0, 0.0])), ""


def _mask(brain: Brain | None) -> NDArray[np.bool_] | None:
    return None if brain is None else brain.mask


def _differences(before: Visit, after: Visit, alignment: Alignment) -> Iterator[str]:
    """What differs between the times beside the patient, and whether it is one."""
    sources = [visit.shown.source for visit in (before, after)]
    patients = {source.value("PatientID") for source in sources if source is not None}
    if len(patients) > 1:
        yield "the two studies name different patients"
    one, other = before.maker, after.maker
    if (one is None) is not (other is None):
        yield "one mask was drawn by a model, the other was not: part of a change may be theirs"
    if one is not None and other is not None:
        if one.bundle != other.bundle:
            names = " and ".join(f"{made.name} {made.version}" for made in (one, other))
            yield f"the masks were drawn by two models, {names}: part of a change may be theirs"
        if set(one.real) != set(other.real):
            given, now = (", ".join(sorted(made.real)) for made in (one, other))
            yield f"the model was given {given} before and {now} after: a change may be theirs"
    if not alignment.one_contrast:
        yield "the times have no contrast in common: they are aligned less exactly"
    slices = [max(visit.grid.spacing) for visit in (before, after)]
    if max(slices) > _UNLIKE * min(slices):
        yield "the masks have slices of {:.1f} mm before and {:.1f} mm after".format(*slices)
