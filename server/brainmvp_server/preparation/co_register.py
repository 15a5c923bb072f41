"""Bring the series of a study onto one of them, and say which of them is of another head.

Where series do not fit the reference, the reference itself may be the wrong one: the others are
held against each other, and those that are fewer are named. One that fits it, but not plainly, has
to fit another one as well: a mirrored series can match one contrast, but none has matched two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from brainmvp_models.errors import RegistrationFailed
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.preparation.belonging import (
    PLAIN_SHARPNESS,
    Match,
    Misfit,
    compared,
    lies_upon,
)
from brainmvp_server.preparation.groups import groups_of, listed
from brainmvp_server.preparation.register import Registration, register
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.working import Pyramid


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The series of a study, two by two.

    Attributes:
        one_grid: as for :func:`co_register`.
        found: where the reference has those that were registered.
    """

    cancel: CancelToken
    one_grid: bool
    found: dict[Modality, Registration] = field(default_factory=dict)

    def onto(
        self, volume: Volume, other: Volume
    ) -> tuple[Match, Misfit | None, Registration | None]:
        """How a series matches another, where it lies or, by the registration, is brought to."""
        self.cancel.check()
        if self.one_grid and (seen := lies_upon(volume, other)):
            return seen, None, None
        registration = register(Pyramid(volume), Pyramid(other))
        way = registration.to_moving
        return *compared(volume, other, way, resampled=self.one_grid), registration

    def fit(self, one: Volume, other: Volume) -> bool:
        """Whether two series show one head."""
        return self.onto(other, one)[1] is None

    def unfit(self, volume: Volume, thirds: Sequence[Volume]) -> Misfit | None:
        """Why a series that fits the reference fits no third one; None where one is fitted."""
        fault = None
        for third in thirds:
            # By where the reference has both, at first: that costs no registration.
            way = self._way(volume).after(self._way(third).inverse)
            if compared(volume, third, way, resampled=self.one_grid)[1] is None:
                return None
            fault = self.onto(volume, third)[1]
            if fault is None:
                return None
        return fault

    def _way(self, volume: Volume) -> RigidTransform:
        registration = self.found.get(volume.modality)
        return RigidTransform.identity() if registration is None else registration.to_moving


def co_register(
    volumes: Sequence[Volume], reference: Volume, cancel: CancelToken, one_grid: bool = False
) -> dict[Modality, Registration]:
    """How each other series lies towards the reference.

    Args:
        one_grid: they share their voxels, as where somebody has brought them together, or where the
            patient moved and the scanner did not: those that show one head in one place are left.

    Raises:
        RegistrationFailed: one does not belong to the head that the others show.
    """
    pairs = _Pairs(cancel, one_grid)
    fitting: list[Volume] = [reference]
    doubtful: list[tuple[float, Volume]] = []
    faults: dict[Modality, Misfit] = {}
    for volume in volumes:
        if volume is reference:
            continue
        seen, fault, registration = pairs.onto(volume, reference)
        if registration is not None:
            pairs.found[volume.modality] = registration
        if fault is not None:
            faults[volume.modality] = fault
            continue
        fitting.append(volume)
        if seen.sharpness < PLAIN_SHARPNESS:
            doubtful.append((seen.sharpness, volume))
    for _, volume in sorted(doubtful, key=lambda each: each[0]):
        others = [one for one in fitting if one is not volume]
        fault = pairs.unfit(volume, others[1:])
        if fault is not None:
            faults[volume.modality] = fault
            fitting = others
    if not faults:
        return pairs.found

    others = [volume for volume in volumes if volume.modality in faults]
    partial = [volume for volume in others if faults[volume.modality].partial]
    if partial:
        raise blame(fitting, partial[:1], faults)
    groups = groups_of(others, pairs.fit) if len(others) >= len(fitting) else [others]
    raise blame(fitting, groups[0], faults)


def blame(
    fitting: Sequence[Volume], others: Sequence[Volume], faults: Mapping[Modality, Misfit]
) -> RegistrationFailed:
    """The error of a study whose series show several heads: of those that are fewer.

    Args:
        fitting: the reference and what fits it, the reference first.
        others: the most series that do not fit it and show one head, at least one.
        faults: by modality, why they do not.
    """
    reference, first = fitting[0], others[0]
    fault = faults[first.modality]
    if len(others) > len(fitting):
        return RegistrationFailed(
            f"it does not fit the head that {listed(others)} show, which fit one another: with "
            f"{first.modality}, {fault.figure}",
            remedy="See that it is of the same patient, upright and not mirrored, or leave it out",
            subject=reference.modality.value,
        )
    if len(others) == len(fitting) == 1:
        known = f"; which of {first.modality} and {reference.modality} is wrong cannot be told"
    elif len(others) == len(fitting):
        known = f"; {listed(fitting)} fit one another, and so do {listed(others)}"
    elif len(fitting) > 1:
        known = f"; {listed(fitting)} fit one another"
    else:
        known = ""
    return RegistrationFailed(
        fault.problem + known, remedy=fault.remedy, subject=first.modality.value
    )
