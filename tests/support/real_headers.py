"""Headers of real series with labels (``headers.json``), as they come out of the reader.

They are not the project's to give away; ``real_data("dicom")`` finds them. A row's ``header`` is
that of a DICOM object, or of a sidecar that dcm2niix wrote: times in seconds, several values in one
string.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from brainmvp_server.imaging.dicom.header import Attributes, SeriesHeader, header_of

HEADERS = Path(__file__).parents[3] / "shared" / "dicom" / "headers.json"
UNSURE = "UNSURE"
_TIMES = ("EchoTime", "RepetitionTime", "InversionTime")
_SPLIT = {"ImageType": r"\\", "ScanOptions": r"\\|, ", "ScanningSequence": r"\\|_|, ",
          "SequenceVariant": r"\\|_|, "}  # fmt: skip


@dataclass(frozen=True)
class RealHeader:
    """One row: what it is, a modality or ``none:WHY``, and what its header says."""

    place: int
    label: str
    header: SeriesHeader

    @property
    def modality(self) -> str | None:
        """What it is to be taken for; None: it must not be used."""
        return None if ":" in self.label else self.label

    def __str__(self) -> str:
        return f"{self.place} {self.label} {self.header.description}"


def real_headers(path: Path) -> list[RealHeader]:
    """All rows whose label is sure."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        RealHeader(place, row["true_label"], _header(row))
        for place, row in enumerate(rows)
        if row["true_label"] != UNSURE
    ]


def _header(row: dict[str, Any]) -> SeriesHeader:
    sidecar = "sidecar" in row["source"]
    ds = Dataset()
    ds.Modality = "MR"
    with config.disable_value_validation():  # a sidecar's values need not be DICOM's
        for keyword, value in row["header"].items():
            tag = tag_for_keyword(keyword)
            if tag is None:
                continue
            if keyword in _SPLIT and isinstance(value, str):
                value = re.split(_SPLIT[keyword], value)
            if sidecar and keyword in _TIMES:
                value = 1000 * float(value)
            ds.add_new(tag, dictionary_VR(tag), value)
        header = header_of(Attributes.of_frames(ds)[0])
    own = {"echo_time": row.get("volume_echo_time_ms"), "b_value": row.get("volume_b_value")}
    return replace(header, **{name: value for name, value in own.items() if value is not None})
