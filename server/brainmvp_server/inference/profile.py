"""How a study is cut into windows: the ``reference`` profile, or ``speed`` where it is proved."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import NotProved
from brainmvp_models.manifest import Manifest, Profile, UsualProfile
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_server.inference.spread_windows import FadingBlend, spread, without_empty
from brainmvp_server.inference.windows import Array, Blend, ScoreMean, Stitching, WindowPlan


def chosen_profile(
    manifest: Manifest, asked: Profile | None, usual: UsualProfile = "reference"
) -> Profile:
    """The profile that a bundle runs a study in.

    Args:
        asked: of this study; None for what is usual.

    Raises:
        NotProved: speed was asked for, and the bundle has no proof of it.
    """
    proved = manifest.speed_proof is not None
    if asked == "speed" and not proved:
        raise NotProved(
            "the bundle has no proof that the profile 'speed' agrees with 'reference'",
            remedy="Ask for the profile reference, or prove it with 'brainmvp prove --profile "
            "speed'",
            subject=f"{manifest.name}/{manifest.version}",
        )
    return asked or ("speed" if usual == "auto" and proved else "reference")


def planned(
    image: Array, real: Collection[Modality], task: Task, profile: Profile
) -> tuple[WindowPlan, Stitching]:
    """The windows of a study, and what makes one of their logits.

    Args:
        image: (C, X, Y, Z), the network's input.
        real: the modalities that are the patient's: what is above zero in one of them is brain, as
            it is to the crop.
    """
    shape = image.shape[1:]
    scores = task.kind == "classification"
    if profile == "reference":
        plan = WindowPlan.of(shape, task.window)
        stitching = (ScoreMean if scores else Blend)(plan, task.outputs.count)
        return plan, stitching
    channels = [index for index, one in enumerate(task.channels) if one.modality in real]
    brain: NDArray[np.bool_] = np.any(image[channels] > 0, axis=0)
    whole = spread(shape, task.window)
    plan = without_empty(whole, whole.pad(brain[np.newaxis])[0])
    return plan, ScoreMean(plan, task.outputs.count) if scores else FadingBlend(plan, task)
