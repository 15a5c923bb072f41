"""The query parameters of calls that bring a study, each declared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query

from brainmvp_models.errors import UnknownModality
from brainmvp_models.manifest import Profile
from brainmvp_models.modality import Modality, parse_modality, printable
from brainmvp_models.task import FillPolicy
from brainmvp_server.api.problems import InvalidQuery
from brainmvp_server.imaging.intake import IntakeOptions
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.inference.options import PredictOptions, Prepare
from brainmvp_server.results.dicom.object_options import Encoding, Frames, ObjectOptions
from brainmvp_server.runtime.received_study import intake_options
from brainmvp_server.settings.model import DicomSettings

_NOT_USED = "none"

Assign = Annotated[
    list[str] | None,
    Query(
        description="What a series is, whatever its header says: NUMBER:MODALITY, or NUMBER:none "
        "to leave it out. The number may be a volume's label or a Series Instance UID; a NIfTI "
        "file's label is 'file 1', 'file 2', …"
    ),
]
BValue = Annotated[
    float | None, Query(gt=0, description="The diffusion weighting that is preferred, s/mm².")
]


@dataclass(frozen=True)
class IntakeParameters:
    """How a study's files are to be told apart, as its sender says it."""

    assign: Sequence[str]
    b_value: float | None

    def options(self, dicom: DicomSettings) -> IntakeOptions:
        """With what the settings say.

        Raises:
            InvalidQuery: an assignment that is none, or to what is no modality.
        """
        return intake_options(dicom, dict(map(assignment, self.assign)), self.b_value)


def intake_parameters(assign: Assign = None, b_value: BValue = None) -> IntakeParameters:
    """Of every call that brings files to be identified."""
    return IntakeParameters(assign or (), b_value)


def objects_wanted(
    seg: Annotated[
        Encoding, Query(description="How the DICOM segmentation is encoded.")
    ] = "binary",
    seg_frames: Annotated[
        Frames, Query(description="Frames without a segment are left out, or not.")
    ] = "sparse",
    overlay: Annotated[
        bool, Query(description="Add secondary captures with the mask in colour.")
    ] = False,
) -> ObjectOptions:
    """What DICOM objects a request asks for, of a study that comes as DICOM."""
    return ObjectOptions(seg, seg_frames, overlay)


def shared_options(
    fill: Annotated[
        FillPolicy | None, Query(description="How missing modalities are filled.")
    ] = None,
    resample: Annotated[
        bool, Query(description="Bring NIfTI volumes on other grids onto the first one's grid.")
    ] = False,
    form: Annotated[
        Form,
        Query(description="What places a NIfTI file's voxels, where its sform and qform disagree."),
    ] = "sform",
    prepare: Annotated[
        Prepare,
        Query(
            description="auto prepares raw heads, and brains on several grids; none takes every "
            "study as it is."
        ),
    ] = "auto",
    space: Annotated[
        str | None,
        Query(
            max_length=20,
            description="Whose grid the result of a prepared study lies on: a modality of it, or "
            "'model'; else that of the series the others were brought to.",
        ),
    ] = None,
    not_determinable: Annotated[
        bool,
        Query(description="Also give what was found of outputs that are not determinable."),
    ] = False,
    profile: Annotated[
        Profile | None,
        Query(
            description="How the study is cut into windows: reference as published, speed into "
            "fewer, which is refused where the bundle has no proof of it; else what the service "
            "is set to."
        ),
    ] = None,
) -> PredictOptions:
    """What a prediction and a job can be asked for alike; a call adds what is its own.

    Raises:
        InvalidQuery: the space is of no series.
    """
    options = PredictOptions(
        fill=fill,
        resample=resample,
        form=form,
        prepare=prepare,
        space=space,
        not_determinable=not_determinable,
        profile=profile,
    )
    try:
        options.check_space()
    except UnknownModality as error:
        raise InvalidQuery(error.problem, remedy=error.remedy) from None
    return options


IntakeAsked = Annotated[IntakeParameters, Depends(intake_parameters)]
ObjectsAsked = Annotated[ObjectOptions, Depends(objects_wanted)]
OptionsAsked = Annotated[PredictOptions, Depends(shared_options)]


def assignment(text: str) -> tuple[str, Modality | None]:
    """A series and the modality it is assigned; None to leave it out.

    Raises:
        InvalidQuery: it is no assignment, or to what is no modality.
    """
    series, _, name = text.rpartition(":")
    if not series or not name:
        raise InvalidQuery(
            f"assign: '{printable(text)}' is no assignment",
            remedy="Write it as NUMBER:MODALITY, for example assign=5:t1c",
        )
    if name == _NOT_USED:
        return series, None
    try:
        return series, parse_modality(name)
    except UnknownModality as error:
        raise InvalidQuery(f"assign: {error.problem}", remedy=error.remedy) from None
