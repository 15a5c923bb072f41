"""What is to be done to a study: nothing, so that it is passed through, or a preparation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from brainmvp_models.errors import ImplausibleBrain
from brainmvp_models.space import Space
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.study import on_one_grid
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.result_space import PreparationWarning, WorkedOn
from brainmvp_server.preparation.brain import BrainMask
from brainmvp_server.preparation.brain_frame import shown_brain
from brainmvp_server.preparation.given_brain import given_brain
from brainmvp_server.preparation.inspect import StudyFindings, inspect, is_plainly_ready
from brainmvp_server.preparation.mask_place import check_mask_place
from brainmvp_server.preparation.placement import placement_warnings


@dataclass(frozen=True, eq=False)
class RawStudy:
    """What is known of a study that has to be prepared.

    Attributes:
        findings: what its series are.
        brain: the user's own mask; None to look for the brain where the skull is still on.
    """

    findings: StudyFindings
    brain: BrainMask | None = None


def look_at(
    volumes: Sequence[Volume],
    options: PredictOptions = PredictOptions(),
    limits: Limits = Limits(),
    brain: Path | None = None,
    space: Space = Space.STUDY,
) -> WorkedOn | RawStudy:
    """The study as it came, where nothing is to be done to it; else what is known of it.

    Args:
        brain: a brain mask of the user's own.
        space: the frame that the task knows.

    Raises:
        ImplausibleBrain: a series is a slab, unless it is not to be prepared.
        GridMismatch: it is not to be prepared, and its series lie on several grids.
        InvalidInput: the mask is of no use; see :func:`given_brain`, :func:`check_mask_place`.
    """
    if brain is None and is_plainly_ready(volumes):
        ready = on_one_grid(volumes)
        warnings = placement_warnings(ready.volumes, space)
        return WorkedOn(ready, brain=shown_brain(ready), warnings=warnings)
    findings = inspect(volumes)
    if not options.as_it_is:
        _check_no_slab(findings)
    given = None
    if brain is not None:
        given = given_brain(brain, volumes, limits, options.form)
    needed = findings.raw or (given is not None and not findings.extracted)
    if options.as_it_is or not needed:
        study = on_one_grid(volumes, resample=options.resample)
        warnings = tuple(_warnings(findings, given))
        if not findings.extracted:
            return WorkedOn(study, warnings=warnings)
        warnings += placement_warnings(study.volumes, space)
        return WorkedOn(study, brain=shown_brain(study), warnings=warnings)
    if given is not None:
        check_mask_place(given, next(one for one in volumes if one.modality is given.drawn_on))
    return RawStudy(findings, given)


def _check_no_slab(findings: StudyFindings) -> None:
    for one in findings.series:
        if one.slab:
            raise ImplausibleBrain(
                f"it shows {min(one.field_mm):.0f} mm of a head only: it is a localizer or a slab",
                remedy="Leave it out and send a series of the whole head; prepare=none takes it "
                "as it is",
                subject=one.modality.value,
            )


def _warnings(findings: StudyFindings, brain: BrainMask | None) -> Iterator[PreparationWarning]:
    """Of a study that is taken as it is: what is no brain, and a mask without a use."""
    for one in findings.series:
        if one.head:
            text = "a head with its skull, which a model of brains knows nothing of"
            yield PreparationWarning("skull-on", f"{one.modality}: {text}")
        elif one.unclear:
            text = "taken as it came, although it is not plainly a brain without its skull"
            yield PreparationWarning("no-plain-brain", f"{one.modality}: {text}")
    if brain is not None:
        text = "brain: the mask was not used: the series show brains without skulls"
        yield PreparationWarning("mask-not-used", text)
