"""Bring the series of a study onto one of them, and say which of them is of another head.

Where series do not fit the reference, the reference itself may be the wrong one: the others are
held against each other, and those that are fewer are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brainmvp_models.errors import RegistrationFailed
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.preparation.belonging import Misfit, lies_upon, misfit
from brainmvp_server.preparation.groups import groups_of, listed
from brainmvp_server.preparation.register import Registration, register
from brainmvp_server.preparation.working import Pyramid


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
    fixed, found = Pyramid(reference), {}
    fitting: list[Volume] = [reference]
    faults: dict[Modality, Misfit] = {}
    for volume in volumes:
        if volume is reference:
            continue
        cancel.check()
        if one_grid and lies_upon(volume, reference):
            fitting.append(volume)
            continue
        registration = register(Pyramid(volume), fixed)
        fault = misfit(volume, reference, registration.to_moving, resampled=one_grid)
        if fault is None:
            fitting.append(volume)
            found[volume.modality] = registration
        else:
            faults[volume.modality] = fault
    if not faults:
        return found

    def fit(one: Volume, other: Volume) -> bool:
        cancel.check()
        if one_grid and lies_upon(other, one):
            return True
        way = register(Pyramid(other), Pyramid(one)).to_moving
        return misfit(other, one, way, resampled=one_grid) is None

    others = [volume for volume in volumes if volume.modality in faults]
    partial = [volume for volume in others if faults[volume.modality].partial]
    if partial:
        raise blame(fitting, partial[:1], faults)
    groups = groups_of(others, fit) if len(others) >= len(fitting) else [others]
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
