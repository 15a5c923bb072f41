"""Studies on disk: which series, in which files, under which UIDs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_studies.anatomy import contrast_image
from dicom_studies.classic import classic_images
from dicom_studies.enhanced import enhanced_image
from dicom_studies.headers import Header, header_of

PLANTED = (
    "Plantedname", "Jane", "PLANTED-ID-4711", "19700213", "PLANTED-ACC-9", "Plantedreferrer",
    "Plantedclinic",
)  # fmt: skip
"""Words that identify the patient in every study; none may be seen in a log or an error."""


@dataclass(frozen=True)
class Series:
    """A series as it was written.

    Attributes:
        images: one NIfTI image a b-value; ``image`` is the only one, or the last.
    """

    contrast: str
    uid: str
    files: tuple[Path, ...]
    images: tuple[nib.Nifti1Image, ...]

    @property
    def image(self) -> nib.Nifti1Image:
        """The volume; of a diffusion series, the one with the highest b-value."""
        return self.images[-1]


@dataclass(frozen=True)
class Study:
    """A study as it was written."""

    folder: Path
    uid: str
    frame: str
    patient: str
    series: dict[str, Series] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file, series after series."""
        return tuple(path for series in self.series.values() for path in series.files)


def write_study(
    folder: Path,
    vendor: str = "siemens",
    contrasts: Sequence[str] = ("t1", "t1c", "t2", "flair"),
    *,
    enhanced: bool = False,
    seed: str = "0",
    source: str = "colin27",
    same_grid: bool = False,
    reverse: bool = False,
    part: bool = False,
) -> Study:
    """Write a study; equal arguments give equal UIDs, another ``seed`` another patient.

    Args:
        same_grid: every series on one axial grid, instead of each in its protocol's plane.
        reverse: slices are acquired from the other end.
        part: the middle of the head only, so that one window of a network holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(folder, _uid("study", seed), _uid("frame", seed), f"PLANTED-ID-4711-{seed}")
    for number, contrast in enumerate(contrasts, start=1):
        header = header_of(vendor, contrast)
        plane = "axial" if same_grid else header.plane
        thick = header.thick and not same_grid
        options = {"reverse": reverse, "thick": thick, "part": part, "source": source}
        if contrast == "localizer":
            grid = ((60, 60, 3), (4.0, 4.0, 30.0))
            images = [
                contrast_image(contrast, p, source=source, grid=grid)
                for p in ("axial", "coronal", "sagittal")
            ]
        elif header.b_values:
            images = [contrast_image("dwi" if b else "b0", plane, **options)
                      for b in header.b_values]  # fmt: skip
        else:
            images = [contrast_image(contrast, plane, **options)]
        study.series[contrast] = write_series(
            folder, images, header, vendor, study=study, number=number, contrast=contrast,
            enhanced=enhanced and contrast != "localizer",
        )  # fmt: skip
    return study


def write_series(
    folder: Path,
    images: Sequence[nib.Nifti1Image],
    header: Header,
    vendor: str,
    *,
    study: Study | None = None,
    number: int = 1,
    contrast: str = "t1",
    enhanced: bool = False,
    shuffle: bool = True,
) -> Series:
    """Write one series, classic (a file a slice, names in no order) or enhanced (one file).

    Args:
        images: int16 voxels (column, row, slice) with their RAS affine; one a b-value where the
            header has b-values.
    """
    study = study or Study(folder, _uid("study", "0"), _uid("frame", "0"), "PLANTED-ID-4711-0")
    uid = _uid(study.uid, "series", str(number))
    common = common_attributes(study, uid, number, header, vendor)
    if enhanced:
        instances = [enhanced_image(common, images, header, vendor)]
    else:
        instances = classic_images(common, images, header, vendor)
    names = np.random.default_rng(number).permutation(len(instances))
    paths = []
    for index, instance in enumerate(instances):
        instance.SOPInstanceUID = _uid(uid, str(index))
        order = int(names[index]) if shuffle else index
        path = folder / f"IM{number:03d}_{order:05d}"
        save(instance, path)
        paths.append(path)
    return Series(contrast, uid, tuple(paths), tuple(images))


def save(instance: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    """Write one object as a DICOM file."""
    instance.ensure_file_meta()
    instance.file_meta.TransferSyntaxUID = syntax
    instance.save_as(path, enforce_file_format=True)


def common_attributes(
    study: Study, series: str, number: int, header: Header, vendor: str
) -> Dataset:
    """What classic and enhanced images share: patient, study, series, equipment."""
    from dicom_studies.headers import EQUIPMENT

    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = "Plantedname^Jane"
    ds.PatientID = study.patient
    ds.PatientBirthDate = "19700213"
    ds.PatientSex = "F"
    ds.PatientWeight = "70"
    ds.AccessionNumber = "PLANTED-ACC-9"
    ds.ReferringPhysicianName = "Plantedreferrer^Max"
    ds.InstitutionName = "Plantedclinic"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.uid, series
    ds.StudyID, ds.SeriesNumber = "1", number
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240305"
    ds.StudyTime = "101500"
    ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = f"10{15 + number % 40:02d}00"
    ds.Modality = "MR"
    ds.StudyDescription = "MRI brain"
    ds.SeriesDescription = ds.ProtocolName = header.description
    maker, model, software = EQUIPMENT[vendor]
    ds.Manufacturer, ds.ManufacturerModelName = maker, model
    ds.SoftwareVersions = software.split("\\")
    ds.DeviceSerialNumber = "12345"
    ds.BodyPartExamined = "BRAIN"
    ds.PatientPosition = "HFS"
    ds.FrameOfReferenceUID = study.frame
    ds.PositionReferenceIndicator = ""
    if header.contrast_agent:
        ds.ContrastBolusAgent = header.contrast_agent
    return ds


def _uid(*parts: str) -> str:
    return generate_uid(entropy_srcs=["brainmvp tests", *parts])
