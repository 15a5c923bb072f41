"""Who made an object, of which study, and under which UIDs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from brainmvp_models import __version__
from brainmvp_server.imaging.dicom.source import DicomSource
from brainmvp_server.inference.result import Result

MANUFACTURER = "BrainMVP Server"
SERIAL = "0"
_FIRST_SERIES = 9100
_TYPE_TWO = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""What the standard wants to be there, be it empty."""


@dataclass(frozen=True)
class Identity:
    """UIDs and numbers of one object of a result.

    They follow from the study and the bundle alone: a repeat replaces an object, it does not double
    it.
    """

    series: str
    instance: str
    series_number: int
    instance_number: int = 1

    @classmethod
    def of(cls, result: Result, kind: str, number: int, instance: int = 1) -> Identity:
        """Of the ``instance``-th object of a kind; ``number`` tells the kinds' series apart."""
        study = str(source_of(result).datasets[0].StudyInstanceUID)
        roots = ["brainmvp", study, result.bundle, kind]
        return cls(
            series=generate_uid(entropy_srcs=[*roots, "series"]),
            instance=generate_uid(entropy_srcs=[*roots, "instance", str(instance)]),
            series_number=_FIRST_SERIES + number,
            instance_number=instance,
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """As highdicom's constructors take them."""
        return {
            "series_instance_uid": self.series,
            "series_number": self.series_number,
            "sop_instance_uid": self.instance,
            "instance_number": self.instance_number,
        }


def source_of(result: Result) -> DicomSource:
    """The series whose grid the result lies on.

    Raises:
        ValueError: the study did not come as DICOM.
    """
    source = result.study.native.source
    if source is None:
        raise ValueError("the study did not come as DICOM")
    return source


def headers_of(source: DicomSource) -> list[Dataset]:
    """The source's headers, with every attribute that objects made from them must repeat."""
    for dataset in source.datasets:
        for keyword in _TYPE_TWO:
            if keyword not in dataset:
                setattr(dataset, keyword, "")
    return list(source.datasets)


def equipment(result: Result) -> dict[str, Any]:
    """The software, as highdicom's constructors take it."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": result.manifest.name,
        "software_versions": [__version__, f"{result.manifest.name} {result.manifest.version}"],
        "device_serial_number": SERIAL,
    }
