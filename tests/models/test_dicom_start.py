"""How DICOM files begin, to the service and to its clients."""

from __future__ import annotations

from pathlib import Path

import brainmvp_clients.score.dicom_start as clients
import brainmvp_models.dicom_start as models


def test_the_clients_know_the_same_beginnings() -> None:
    one, other = (Path(str(module.__file__)).read_text("utf-8") for module in (models, clients))
    assert one == other, (
        "cp models/brainmvp_models/dicom_start.py clients/brainmvp_clients/score/dicom_start.py"
    )
