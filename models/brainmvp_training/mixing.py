"""Templates in the place of modalities: what is missing, and what training hides on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidTask, TemplateMismatch
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.task import Task
from brainmvp_models.templates import TemplateBank, minmax_scaled
from brainmvp_training.prepared import PreparedStudy
from brainmvp_training.windows import WindowPlace, centre_shift

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ChannelFiller:
    """Puts a study's own scans and templates into a task's channels, as the service does.

    Attributes:
        templates: by the modality they fill; absent ones are filled by zeros.
        placing: ``center`` or ``grid``, as in the task's fill policy; ``center`` for ``register``.
    """

    modalities: tuple[Modality, ...]
    templates: dict[Modality, Array]
    placing: str

    @classmethod
    def of(cls, task: Task, bank: TemplateBank) -> ChannelFiller:
        """The filler of a task with a bank of templates.

        Raises:
            TemplateMismatch: the task fills from templates and one is not in the bank.
        """
        policy = task.filling.policy
        if policy in ("zeros", "none"):
            return cls(task.modalities, {}, "center")
        scaled = task.filling.scaling == "minmax"
        bank = bank.at_spacing(task.preprocessing.spacing_mm)
        templates = {}
        for channel in task.channels:
            if channel.filler not in bank.volumes:
                if channel.required:
                    continue
                raise TemplateMismatch(
                    f"there is no template for {channel.filler}",
                    remedy="Give --pretrained a file, or --templates a folder, that has it; where "
                    "every study is complete, write the policy zeros into the task's filling and "
                    "give --mix 0",
                    subject=channel.modality.value,
                )
            volume = bank.volumes[channel.filler].astype(np.float32) * np.float32(bank.step)
            templates[channel.modality] = minmax_scaled(volume) if scaled else volume
        # Training studies are not registered with an atlas.
        return cls(task.modalities, templates, "center" if policy == "register" else policy)

    @property
    def blank(self) -> tuple[Modality, ...]:
        """Those whose template shows nothing: pre-training saw no study that has them."""
        return tuple(m for m, volume in self.templates.items() if volume.min() == volume.max())

    def check(self, study: PreparedStudy, hideable: Sequence[Modality]) -> None:
        """Hold a study against the templates of what it lacks, and of what may be hidden of it.

        Raises:
            TemplateMismatch: the policy is ``grid``, and the study lies on another one.
        """
        hidden = hideable if len(study.modalities) > 1 else ()
        shapes = {
            template.shape
            for modality, template in self.templates.items()
            if modality not in study.modalities or modality in hidden
        }
        if self.placing == "grid" and shapes - {study.full}:
            raise TemplateMismatch(
                f"{study.name} does not lie on the template grid, which policy 'grid' needs",
                remedy="Choose the policy center in the task, or resample the study",
            )

    def channels(
        self, study: PreparedStudy, place: WindowPlace, hidden: Sequence[Modality]
    ) -> Array:
        """One window's channels (C, w, w, w): scans where there are any and they are not hidden."""
        out = np.zeros((len(self.modalities), *(place.edge,) * 3), np.float32)
        for index, modality in enumerate(self.modalities):
            if modality in study.modalities and modality not in hidden:
                out[index] = place.cut(study.image[study.modalities.index(modality)])
            elif modality in self.templates:
                out[index] = self._template(modality, study, place)
        return out

    def volume(self, study: PreparedStudy, hidden: Sequence[Modality]) -> Array:
        """The whole study's channels (C, X, Y, Z)."""
        edge = max(study.shape)
        x, y, z = study.shape
        return self.channels(study, WindowPlace((0, 0, 0), edge), hidden)[:, :x, :y, :z]

    def _template(self, modality: Modality, study: PreparedStudy, place: WindowPlace) -> Array:
        template = self.templates[modality]
        on_grid = self.placing == "grid"
        shift = study.start if on_grid else centre_shift(study.shape, template.shape)
        part = place.shifted(shift).cut(template)
        # The service fills the study's own box, not what a window sees beyond it.
        inside = place.cut(np.ones(study.shape, np.bool_))
        filled: Array = np.where(inside, part, np.float32(0))
        return filled


@dataclass(frozen=True)
class OftenMissing:
    """Modalities that studies often lack together.

    Attributes:
        share: of the views that hide just these, 0 to 1.
    """

    modalities: frozenset[Modality]
    share: float

    @classmethod
    def parse(cls, text: str) -> OftenMissing:
        """``flair=0.3`` or ``t1c+flair=0.1``.

        Raises:
            InvalidTask: the text is not of this form, or the share not between 0 and 1.
            UnknownModality: a name is no modality.
        """
        said, _, number = text.partition("=")
        names = said.split("+")
        try:
            share = float(number)
        except ValueError:
            share = -1
        if not 0 <= share <= 1 or not all(names):
            raise InvalidTask(
                f"'{text}' does not say what is often missing, and in what share of views",
                remedy="Write modalities and a share from 0 to 1: flair=0.3 or t1c+flair=0.1",
                subject="--missing",
            )
        return cls(frozenset(map(parse_modality, names)), share)


def check_missing(often: Sequence[OftenMissing], task: Task, most: int) -> None:
    """Hold what is to be missing often against what a view of the task may lack.

    Raises:
        InvalidTask: a modality that is not there to be hidden, all of them, or shares above 1.
    """
    free = {channel.modality for channel in task.channels if not channel.required}
    problem = ""
    if often and not most:
        problem = "views that hide nothing lack nothing"
    if any(one.modalities - free for one in often):
        problem = "names a modality that the task needs or does not take"
    elif any(one.modalities == set(task.modalities) for one in often):
        problem = "names all modalities of the task"
    elif sum(one.share for one in often) > 1:
        problem = "shares out more views than there are"
    if problem:
        names = ", ".join(m.value for m in task.modalities if m in free)
        raise InvalidTask(
            problem,
            remedy=f"Hide some of {names}, in shares that sum to at most 1, and with --mix above 0",
            subject="--missing",
        )


def draw_hidden(
    present: Sequence[Modality],
    required: Sequence[Modality],
    rng: np.random.Generator,
    most: int,
    often: Sequence[OftenMissing] = (),
) -> tuple[Modality, ...]:
    """Modalities to hide in one view; one always stays.

    Those that are ``often`` missing, in their shares of views. In the other views 0 to ``most`` of
    those that may go.
    """
    drawn = rng.random() if often else 0.0
    for one in often:
        drawn -= one.share
        if drawn < 0 and not one.modalities.issuperset(present):
            return tuple(m for m in present if m in one.modalities)
    free = [m for m in present if m not in required]
    most = min(most, len(present) - 1, len(free))
    count = int(rng.integers(0, most + 1)) if most > 0 else 0
    return tuple(free[i] for i in rng.permutation(len(free))[:count])
