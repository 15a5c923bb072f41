"""Prediction without a server, for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidBundle, TemplateMismatch
from brainmvp_models.manifest import CpuPrecision, Profile
from brainmvp_models.task import FillPolicy
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.inference.options import Prepare
from brainmvp_server.preparation.predictor import Predictor
from brainmvp_server.repository.catalogue import Catalogue
from brainmvp_server.results.files import summary_json, write_files


def predict(
    bundle: Path,
    study: Mapping[str, Path],
    out: Path,
    *,
    fill: str | None = None,
    resample: bool = False,
    form: Form | None = None,
    prepare: Prepare = "auto",
    space: str | None = None,
    brain: Path | None = None,
    probabilities: bool = False,
    not_determinable: bool = False,
    engine: str | None = None,
    profile: Profile | None = None,
    cpu_precision: CpuPrecision = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> str:
    """Predict one study and write its files into ``out``; returns the summary as JSON.

    Raises:
        BrainMVPError: one of its kinds.
    """
    policy = parse_policy(fill)
    with Predictor.load(Bundle.open(bundle), engine, cpu_precision) as predictor:
        result = predictor.predict(
            study,
            fill=policy,
            probabilities=probabilities,
            not_determinable=not_determinable,
            profile=profile,
            resample=resample,
            form=form or "sform",
            prepare=prepare,
            space=space,
            brain=brain,
            progress=progress,
        )
    write_files(result, out)
    return summary_json(result)


def models(folder: Path) -> str:
    """The models in a folder, as ``GET /v1/models`` answers.

    Raises:
        InvalidBundle: there is no such folder.
    """
    if not folder.is_dir():
        raise InvalidBundle(
            "no such folder", remedy="Give the folder that holds the bundles", subject=str(folder)
        )
    return Catalogue.read(folder).models().model_dump_json()


def parse_policy(name: str | None) -> FillPolicy | None:
    """The fill policy of that name.

    Raises:
        TemplateMismatch: there is none.
    """
    if name is None:
        return None
    for policy in get_args(FillPolicy):
        if policy == name:
            return policy  # type: ignore[no-any-return]
    known = ", ".join(get_args(FillPolicy))
    raise TemplateMismatch(f"'{name[:40]}' is no fill policy", remedy=f"Choose one of: {known}")
