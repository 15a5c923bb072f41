"""What a prediction gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.determinable import NotDeterminable, without
from brainmvp_models.manifest import Manifest, Profile, SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import Outputs, ScoreOutputs
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.brain_surface import Brain
from brainmvp_server.inference.calibrated import probability_maps, uncertainty
from brainmvp_server.inference.engines import EngineInfo
from brainmvp_server.inference.fill import Filled
from brainmvp_server.inference.measure import Structure
from brainmvp_server.inference.postprocess import Segmentation
from brainmvp_server.inference.preprocess import Coverage
from brainmvp_server.inference.result_space import PreparationReport, ResultSpace


@dataclass(frozen=True)
class ClassScore:
    """The probability of one class of a classification.

    Attributes:
        score: calibrated, where the bundle has a calibration.
        uncalibrated: as the network gives it.
    """

    name: str
    title: str
    score: float
    uncalibrated: float


@dataclass(frozen=True, eq=False)
class Result:
    """A study's result, with everything one must know to trust it or not.

    Attributes:
        manifest: of the bundle that made it; ``bundle_digest`` is that manifest's digest.
        study: the real volumes; the first one's grid and header are the mask's.
        filled: the modalities that are not the patient's.
        segmentation, structures: of a segmentation; None and empty for a classification.
        scores: of a classification.
        templates: what stood in for each filled modality, (i, j, k) float32 on the native grid, in
            the network's scale; None where it was not asked for.
        expected: measured quality for this subset of modalities, where the bundle knows it.
        coverage: how much of the head each real volume shows.
        windows: how many windows the network saw.
        seconds: by stage.
        preparation: what was done to a raw study before; None where nothing was. The volumes of
            ``study`` then lie on grids of their own, or in model space where that was asked for.
        onto: how those on grids of their own lie to the result's.
        brain: where it is known, in the world of the result's grid.
        not_determinable: what the study's modalities cannot decide.
        left_out: whether mask, structures and scores are without it, or show it all the same.
        profile: how the study was cut into windows.
    """

    manifest: Manifest
    bundle_digest: str
    engine: EngineInfo
    study: Study
    filled: tuple[Filled, ...]
    segmentation: Segmentation | None
    structures: tuple[Structure, ...]
    scores: tuple[ClassScore, ...]
    expected: tuple[SubsetQuality, ...]
    coverage: Mapping[Modality, Coverage]
    warnings: tuple[str, ...]
    windows: int
    seconds: Mapping[str, float]
    templates: Mapping[Modality, NDArray[np.float32]] | None = None
    preparation: PreparationReport | None = None
    onto: ResultSpace | None = None
    brain: Brain | None = None
    not_determinable: tuple[NotDeterminable, ...] = ()
    left_out: bool = True
    profile: Profile = "reference"

    @property
    def outputs(self) -> Outputs:
        """The task's outputs as mask and structures show them: without what is left out."""
        names = [one.output for one in self.not_determinable] if self.left_out else []
        return without(self.manifest.task.outputs, names)

    @cached_property
    def probabilities(self) -> dict[str, NDArray[np.float32]]:
        """An output's map (i, j, k) by its name, calibrated where the bundle has a calibration.

        Empty where maps were not asked for, and for a classification.
        """
        if self.segmentation is None or isinstance(self.outputs, ScoreOutputs):
            return {}
        maps = self.segmentation.probabilities
        return probability_maps(maps, self.outputs, self.manifest.calibration)

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """(i, j, k) how open the answer is at each voxel, 0 to 1, by the probabilities.

        None where maps were not asked for, and for a classification.
        """
        maps = self.probabilities
        if not maps or isinstance(self.outputs, ScoreOutputs):
            return None
        return uncertainty(maps, self.outputs)

    @property
    def population(self) -> Population | None:
        """Whom the quality to expect was measured on; None where that is not recorded."""
        evaluated = self.manifest.evaluated
        return evaluated.population if evaluated else None

    @property
    def mask(self) -> NDArray[np.uint8]:
        """(i, j, k) label values on the native grid.

        Raises:
            ValueError: the model is a classifier.
        """
        if self.segmentation is None:
            raise ValueError(f"{self.manifest.name} classifies; it has no mask")
        return self.segmentation.mask

    def with_notes(self, notes: Sequence[str]) -> Result:
        """The same, with what a reader should know about the files among the warnings."""
        return replace(self, warnings=(*self.warnings, *notes))
