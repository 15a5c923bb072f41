"""One of the two times that are compared: its series, and the mask drawn on one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidInput
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.result import Result

VOLUME_ERROR = "volume_error_ml"
"""The metric of a subset card: the mean absolute error of a structure's volume."""


@dataclass(frozen=True)
class Kind:
    """What is compared: a region or class of a model, or a label of a mask made elsewhere.

    Attributes:
        labels: the values in the mask that it is made of.
    """

    name: str
    title: str
    labels: tuple[int, ...]

    @classmethod
    def of_label(cls, value: int) -> Kind:
        """A label that nobody has named."""
        return cls(f"label-{value}", f"label {value}", (value,))


@dataclass(frozen=True)
class Maker:
    """The model that drew a mask.

    Attributes:
        bundle: its manifest's digest.
        real: the modalities that were the patient's.
        errors_ml: by structure, the mean absolute volume error measured for these modalities; of
            those that the bundle's card knows.
    """

    name: str
    version: str
    bundle: str
    demo: bool
    real: tuple[Modality, ...]
    errors_ml: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Visit:
    """One time.

    Attributes:
        series: as they came, each on its own grid; of whole heads or brains.
        drawn_on: the series in whose world the mask lies.
        labels: (i, j, k) on ``grid``, 0 outside.
        grid: the voxels of ``drawn_on``; the order of the axes may be another.
        kinds: what the model calls its labels; empty for a mask made elsewhere.
        maker: None for a mask made elsewhere.
    """

    series: tuple[Volume, ...]
    drawn_on: Modality
    labels: NDArray[Any]
    grid: Grid
    kinds: tuple[Kind, ...] = ()
    maker: Maker | None = None

    @classmethod
    def of_result(cls, result: Result) -> Visit:
        """Of a prediction.

        Raises:
            InvalidInput: the model classifies.
        """
        manifest = result.manifest
        if result.segmentation is None:
            raise InvalidInput(
                "the model classifies, and there is no mask to compare",
                remedy="Name a model that segments",
                subject=manifest.name,
            )
        maker = Maker(
            manifest.name,
            manifest.version,
            result.bundle_digest,
            manifest.demo,
            tuple(volume.modality for volume in result.study.volumes),
            {one.output: one.value for one in result.expected if one.metric == VOLUME_ERROR},
        )
        native = result.study.native
        return cls(
            series=result.study.volumes,
            drawn_on=native.modality,
            labels=result.mask,
            grid=native.grid,
            kinds=tuple(Kind(one.name, one.title, one.labels) for one in result.structures),
            maker=maker,
        )

    @property
    def shown(self) -> Volume:
        """The series that the mask was drawn on."""
        found = self.of(self.drawn_on)
        assert found is not None
        return found

    def of(self, modality: Modality) -> Volume | None:
        """The series of a modality, if it is there."""
        return next((one for one in self.series if one.modality is modality), None)

    def labels_of(self, kind: Kind) -> tuple[int, ...]:
        """The values of this mask that a structure is made of.

        They can be others than at the other time, where the modalities could not decide a region
        inside it and that has no label of its own.
        """
        return next((one.labels for one in self.kinds if one.name == kind.name), kind.labels)

    def same_as(self, other: Visit) -> bool:
        """Whether both hold the very same mask on the very same series."""
        return (
            self.shown.digest == other.shown.digest
            and self.labels.shape == other.labels.shape
            and np.array_equal(self.grid.affine, other.grid.affine)
            and np.array_equal(self.labels, other.labels)
        )


def kinds_of(before: Visit, after: Visit) -> tuple[tuple[Kind, ...], tuple[str, ...]]:
    """What can be compared, and the names of what only one of the two has.

    Two models' structures go by their names. The labels of a mask made elsewhere are what the other
    time's model calls them; where neither has a model, each label stands for itself.
    """
    if before.kinds and after.kinds:
        there = {one.name for one in before.kinds}
        here = {one.name for one in after.kinds}
        both = tuple(one for one in after.kinds if one.name in there)
        return both, tuple(sorted(there ^ here))
    if before.kinds or after.kinds:
        return before.kinds or after.kinds, ()
    values = np.union1d(np.unique(before.labels), np.unique(after.labels))
    return tuple(Kind.of_label(int(value)) for value in values if value), ()
