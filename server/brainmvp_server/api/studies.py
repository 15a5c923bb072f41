"""From an upload to what a model is given; and ``POST /v1/studies/identify``, which stops there."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from brainmvp_models.errors import NothingIdentified, UnknownModality
from brainmvp_models.modality import Modality, parse_modality, printable
from brainmvp_models.task import Task
from brainmvp_server.api.openapi import PROBLEM, UPLOAD
from brainmvp_server.api.problems import InvalidQuery
from brainmvp_server.api.study_request import StudyRequest, StudyRequests
from brainmvp_server.api.uploads import Upload
from brainmvp_server.imaging.archive import ArchiveLimits
from brainmvp_server.imaging.intake import Intake, IntakeOptions, chosen_for, opened, take_in
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.imaging.sources import Source
from brainmvp_server.results.dicom.object_options import Encoding, Frames, ObjectOptions
from brainmvp_server.results.findings import Findings
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import Settings

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


Resample = Annotated[
    bool, Query(description="Bring NIfTI volumes on other grids onto the first one's grid.")
]

Placing = Annotated[
    Form,
    Query(description="What places a NIfTI file's voxels, where its sform and qform disagree."),
]


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


Objects = Annotated[ObjectOptions, Depends(objects_wanted)]


def build_study_router(service: Service, requests: StudyRequests) -> APIRouter:
    """The routes that look at a study without a model."""
    router = APIRouter()
    settings = service.settings

    @router.post(
        "/v1/studies/identify",
        tags=["studies"],
        summary="Tell which series or file is which modality; no model is run",
        responses=dict.fromkeys((400, 408, 413, 415, 422, 429, 503, 504), PROBLEM),
        openapi_extra={"requestBody": UPLOAD},
    )
    async def identify(request: Request, assign: Assign = None, b_value: BValue = None) -> Findings:
        options = intake_options(settings, assign or (), b_value)
        incoming = await requests.admit(request)
        upload = await incoming.upload()
        if upload.parts:
            raise NothingIdentified(
                "the part says itself what it is, and is not looked at",
                remedy="Call it files to have it identified (-F files=@t1.nii.gz)",
                subject=next(iter(upload.parts)).value,
            )

        def work() -> Findings:
            with service.admission.place(incoming.cancel):
                found = take_in(
                    upload.files,
                    incoming.folder,
                    options,
                    archive_limits(settings),
                    incoming.cancel.check,
                )
                return Findings.of_all(found)

        return await incoming.work(work)

    return router


def intake_options(
    settings: Settings, assign: Sequence[str], b_value: float | None
) -> IntakeOptions:
    """How a study is to be told apart, by the query and the settings.

    Raises:
        InvalidQuery: an assignment that is none, or to what is no modality.
    """
    dicom = settings.dicom
    return IntakeOptions(
        assigned=dict(map(assignment, assign)),
        b_value=dicom.b_value if b_value is None else b_value,
        rules=dicom.identification_rules,
        fallback=dicom.dicom_fallback == "dcm2niix",
    )


@dataclass(frozen=True)
class ReceivedStudy:
    """What an upload holds, whatever model is asked.

    Attributes:
        named: the sources that were named by their modality.
        intake: what was identified; None where every part was named.
    """

    named: Mapping[Modality, Source]
    intake: Intake | None

    def findings(self, sources: Mapping[Modality, Source], task: Task) -> Findings:
        """What was identified, and what is to be said of the sources that a model is given."""
        return Findings.of(self.intake, sources, task.modalities)

    def sources(self, task: Task) -> dict[Modality, Source]:
        """What a model is given of it, by modality.

        Raises:
            InvalidInput: one of its kinds; see :func:`chosen_for`.
        """
        if self.intake is None:
            return dict(self.named)
        return chosen_for(self.intake, task.modalities, self.named)


def received(
    upload: Upload, incoming: StudyRequest, options: IntakeOptions, task: Task, settings: Settings
) -> ReceivedStudy:
    """Look into an upload; zips are unpacked into the request's folder, and no voxel is read.

    Args:
        task: of the model that is asked; it says whether steady-state images may be T2.

    Raises:
        InvalidInput: one of its kinds; see :func:`take_in` and :func:`one_series`.
        BrainMVPError: the reason why the request may not go on.
    """
    named = opened(upload.parts, incoming.folder, options, incoming.cancel.check)
    if not upload.files:
        return ReceivedStudy(named, None)
    limits = archive_limits(settings)
    options = replace(options, stand_ins=task.steady_states)
    return ReceivedStudy(
        named, take_in(upload.files, incoming.folder, options, limits, incoming.cancel.check)
    )


def archive_limits(settings: Settings) -> ArchiveLimits:
    """How much one zip may hold."""
    return ArchiveLimits(entries=settings.limits.upload_files)


def parts_of(sources: Mapping[Modality, Source], folder: Path) -> dict[Modality, Path]:
    """One file a modality, as a job keeps them: a DICOM series becomes a zip of its objects."""
    parts: dict[Modality, Path] = {}
    for modality, source in sources.items():
        if isinstance(source, Path):
            parts[modality] = source
            continue
        parts[modality] = folder / f"{modality.value}.zip"
        with zipfile.ZipFile(parts[modality], "w", zipfile.ZIP_STORED) as archive:
            for number, path in enumerate(dict.fromkeys(f.path for f in source.frames)):
                # Neither a name nor a time: equal series give equal bytes.
                archive.writestr(zipfile.ZipInfo(f"{number:06d}.dcm"), path.read_bytes())
    return parts


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
