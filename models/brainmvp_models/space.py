"""The spaces that a model's data may lie in."""

from __future__ import annotations

from enum import Enum


class Space(str, Enum):
    """Where the heads of a model's training data lay, by the name used in task files.

    ``study`` is the study's own space, ``sri24`` and ``mni152`` are those of the two atlases
    (Rohlfing et al., Hum Brain Mapp 31:798-819, 2010; Fonov et al., NeuroImage 54:313-327, 2011).
    """

    STUDY = "study"
    SRI24 = "sri24"
    MNI152 = "mni152"

    def __str__(self) -> str:
        return self.value
