"""What is asked of one prediction, beside its study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from brainmvp_models.errors import UnknownModality
from brainmvp_models.manifest import Profile
from brainmvp_models.modality import Modality, printable
from brainmvp_models.task import FillPolicy, Task
from brainmvp_server.imaging.nifti_space import Form

Prepare = Literal["auto", "none"]
MODEL_SPACE = "model"
"""What :attr:`PredictOptions.space` calls the grid that the network works on."""


@dataclass(frozen=True)
class PredictOptions:
    """The same for a request, a job, a command and a call of the library.

    Attributes:
        fill: how missing modalities are filled; None for what the bundle says.
        probabilities: also keep each output's probability map.
        templates: also keep what stood in for each missing modality.
        resample: bring NIfTI files on other grids onto the first one's, by scanner coordinates.
        form: what places a NIfTI file's voxels, where its header has both.
        interactive: whether somebody waits for it; other studies come later.
        prepare: ``auto`` prepares raw heads, and brains that lie on several grids; ``none`` takes
            every study as it is.
        space: whose grid the result of a prepared study lies on: a modality of it, or ``model``;
            None for the series that the others were brought to.
        not_determinable: also give what was found of outputs that are not determinable.
        profile: how it is cut into windows; None for reference.
    """

    fill: FillPolicy | None = None
    probabilities: bool = False
    templates: bool = False
    resample: bool = False
    form: Form = "sform"
    interactive: bool = True
    prepare: Prepare = "auto"
    space: str | None = None
    not_determinable: bool = False
    profile: Profile | None = None

    def check_space(self) -> None:
        """See that :attr:`space` can be the grid of a result.

        Raises:
            UnknownModality: it is neither a modality nor ``model``.
        """
        known = (*(modality.value for modality in Modality), MODEL_SPACE)
        if self.space is None or self.space in known:
            return
        raise UnknownModality(
            f"space: '{printable(self.space)}' is no series, on whose grid a result could lie",
            remedy=f"Choose one of: {', '.join(known)}",
        )

    @property
    def as_it_is(self) -> bool:
        """Whether a study is not to be prepared, whatever it is."""
        return self.prepare == "none" or self.resample

    def policy(self, task: Task) -> FillPolicy:
        """How a task's missing modalities are filled."""
        return self.fill or task.filling.policy
