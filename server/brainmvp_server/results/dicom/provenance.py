"""Who made an object, of which study, and under which UIDs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.uid import generate_uid

from brainmvp_models import __version__
from brainmvp_server.inference.result import Result
from brainmvp_server.results.dicom.reference import source_of

MANUFACTURER = "BrainMVP Server"
SERIAL = "0"
_FIRST_SERIES = 9100


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
        study = source_of(result).study
        roots = ["brainmvp", study, result.bundle_digest, kind]
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


def equipment(result: Result) -> dict[str, Any]:
    """The software, as highdicom's constructors take it."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": result.manifest.name,
        "software_versions": [__version__, f"{result.manifest.name} {result.manifest.version}"],
        "device_serial_number": SERIAL,
    }
