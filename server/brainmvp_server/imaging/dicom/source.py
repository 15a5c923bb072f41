"""Where a volume came from, as far as objects made from it must refer to it."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The objects of the series a volume was read from.

    Attributes:
        label: the series, as users name it.
        datasets: without pixels and private attributes, in slice order; one for enhanced MR.
    """

    label: str
    datasets: tuple[Dataset, ...]
