"""A raw clinical study: series as a scanner sends them, each in a world of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
from pydicom.uid import generate_uid

from dicom_studies.headers import header_of
from dicom_studies.write import PLANTED, Study, write_series


def write_raw_study(folder: Path, source: Path, names: Sequence[str]) -> Study:
    """Write ``source/NAME.nii.gz`` as DICOM series under frames of reference of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    seed = ("raw", *names)
    study = Study(folder, generate_uid(entropy_srcs=list(seed)), "", f"{PLANTED[2]}-0")
    for number, name in enumerate(names, start=1):
        study.series[name] = write_series(
            folder,
            [nib.load(source / f"{name}.nii.gz")],
            header_of("siemens", name),
            "siemens",
            study=replace(study, frame=generate_uid(entropy_srcs=[*seed, name])),
            number=number,
            contrast=name,
        )
    return study
