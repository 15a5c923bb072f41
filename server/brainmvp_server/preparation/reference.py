"""Which series of a study the others are brought to."""

from __future__ import annotations

from collections.abc import Sequence

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.volume import Volume

REFERENCES = (Modality.T1C, Modality.T1, Modality.FLAIR, Modality.T2)
"""The series the others are brought to: the first of these that is there, else the first given."""


def reference_of(volumes: Sequence[Volume]) -> Volume:
    """The series that the others are brought to."""
    for modality in REFERENCES:
        for volume in volumes:
            if volume.modality is modality:
                return volume
    return volumes[0]
