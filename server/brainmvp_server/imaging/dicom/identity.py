"""Whose a series is, of which study and objects: what is made of it must say so, too.

Every rule of what is kept, left out or refused is in the tables here; ``docs/dicom.md`` tells them
to users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from brainmvp_server.imaging.dicom.files import Frame
from brainmvp_server.imaging.dicom.series import Stack
from brainmvp_server.imaging.dicom.texts import InvalidText, tag_of, values_of
from brainmvp_server.imaging.dicom_source import DicomSource, SourceFrame, SourceImage

ALWAYS = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""What the standard wants to be there, be it empty (type 2)."""
_WHERE_VALID = (
    "IssuerOfPatientID", "PatientAge", "PatientSize", "PatientWeight", "StudyDescription",
    "PositionReferenceIndicator", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber",
    "InstitutionName", "InstitutionalDepartmentName", "StationName", "LossyImageCompression",
)  # fmt: skip
_SEVERAL = (
    "SoftwareVersions", "DeidentificationMethod", "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)  # fmt: skip
_CODES = {
    "PatientSex": ("M", "F", "O"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "LossyImageCompression": ("00", "01"),
}
TRIAL = (
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName",
    "ClinicalTrialTimePointID",
)  # fmt: skip
"""Of a clinical trial: the first three are required together, the others may be empty."""
_REFUSED = "PatientID"
"""An object under a wrong or no ID would come to another patient, or to nobody."""
_KEPT = (
    "SpecificCharacterSet", "NumberOfFrames", "StudyInstanceUID", "SeriesInstanceUID",
    "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID", "PatientIdentityRemoved",
    *ALWAYS, *_WHERE_VALID, *_SEVERAL, *TRIAL,
)  # fmt: skip


def head_of(dataset: Dataset) -> Dataset:
    """What of a file its identity is in, undecoded; no pixels, nothing private."""
    head = Dataset()
    for keyword in _KEPT:
        if keyword in dataset:
            head[keyword] = dataset.get_item(keyword)
    meta = getattr(dataset, "file_meta", None) or Dataset()
    for keyword, behind in (
        ("SOPClassUID", "MediaStorageSOPClassUID"),
        ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
    ):
        present = dataset.get_item(keyword) if keyword in dataset else None
        if (present is None or not present.value) and behind in meta:
            setattr(head, keyword, str(meta[behind].value))
    return head


def source_of(stack: Stack, heads: Mapping[Path, Dataset]) -> DicomSource:
    """The source of a stack; ``heads`` has :func:`head_of` each of its files."""
    refused: dict[str, None] = {}
    frames = _slices(stack)
    images = {path: _image(heads[path], refused) for path in {frame.path for frame in frames}}
    ordered = [heads[path] for path in dict.fromkeys(frame.path for frame in frames)]
    first = ordered[0]
    attributes, left_out = _attributes(ordered, refused)
    study = _uid(first, "StudyInstanceUID", refused)
    return DicomSource(
        label=stack.label,
        study=study,
        frame_of_reference=_frame_of_reference(first, study, images[frames[0].path], left_out),
        frames=tuple(
            SourceFrame(
                images[frame.path],
                frame.index + 1 if "NumberOfFrames" in heads[frame.path] else None,
            )
            for frame in frames
        ),
        tiled=len(stack.frames) != len(frames),
        attributes=attributes,
        refused=tuple(refused),
        left_out=tuple(left_out),
    )


def _slices(stack: Stack) -> Sequence[Frame]:
    """The frame of each slice; where the slices are tiles of one image, that image of all."""
    count = stack.grid.shape[2]
    if len(stack.frames) != count:
        return [stack.frames[0]] * count
    if stack.converted is None:
        return stack.frames
    back = np.linalg.inv(np.diag((-1.0, -1.0, 1.0, 1.0)) @ stack.grid.affine)
    return sorted(stack.frames, key=lambda frame: float((back @ (*(frame.position or ()), 1))[2]))


def _image(head: Dataset, refused: dict[str, None]) -> SourceImage:
    return SourceImage(
        series=_uid(head, "SeriesInstanceUID", refused),
        instance=_uid(head, "SOPInstanceUID", refused),
        sop_class=_uid(head, "SOPClassUID", refused),
    )


def _uid(head: Dataset, keyword: str, refused: dict[str, None]) -> str:
    try:
        uid = _single(head, keyword)
    except InvalidText as fault:
        refused[f"{tag_of(keyword)}: {fault}"] = None
        return ""
    if not uid:
        refused[f"{tag_of(keyword)} is missing"] = None
    return uid


def _frame_of_reference(head: Dataset, study: str, image: SourceImage, left_out: list[str]) -> str:
    """The source's, or one that all objects of the same series share."""
    keyword = "FrameOfReferenceUID"
    try:
        uid = _single(head, keyword)
    except InvalidText as fault:
        uid = ""
        left_out.append(f"{tag_of(keyword)}: {fault}; another stands in its place")
    return uid or generate_uid(entropy_srcs=["brainmvp", study, image.series, keyword])


def _attributes(
    heads: Sequence[Dataset], refused: dict[str, None]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The valid ones of the first file; an ID that it lacks, of the first that has it."""
    found: dict[str, tuple[str, ...]] = {}
    left_out: list[str] = []
    for keyword in (*ALWAYS, *_WHERE_VALID, *_SEVERAL, "PatientIdentityRemoved", *TRIAL):
        asked = heads if keyword == _REFUSED else heads[:1]
        try:
            values = next(filter(None, (_valid(head, keyword) for head in asked)), ())
        except InvalidText as fault:
            sentence = f"{tag_of(keyword)}: {fault}"
            if keyword == _REFUSED:
                refused[sentence] = None
            else:
                left_out.append(sentence)
            continue
        if values:
            found[keyword] = values
    if not all(keyword in found for keyword in TRIAL[:3]):
        for keyword in TRIAL:
            found.pop(keyword, None)
    return found, left_out


def _valid(head: Dataset, keyword: str) -> tuple[str, ...]:
    if keyword in _SEVERAL:
        return values_of(head, keyword)
    value = _single(head, keyword)
    allowed = _CODES.get(keyword)
    if value and allowed and value not in allowed:
        raise InvalidText(f"it is none of {', '.join(allowed)}")
    return (value,) if value else ()


def _single(head: Dataset, keyword: str) -> str:
    values = values_of(head, keyword)
    if len(values) > 1:
        raise InvalidText("it has several values")
    return values[0] if values else ""
