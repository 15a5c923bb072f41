"""Prove that a bundle's profile ``speed`` agrees with ``reference``, by serving both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from importlib import metadata

from brainmvp_export.agreement import (
    ENGINE,
    Comparison,
    Gate,
    check_agreement,
    compare,
    served_in,
)
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidBundle
from brainmvp_models.manifest import SpeedProof
from brainmvp_models.task import FillPolicy
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.result import Result

GATE = Gate(
    dice=0.99, volume_error=None, score_error=0.01, instead="serve this bundle in reference"
)


def prove_speed(
    bundle: Bundle, studies: Iterable[Study], say: Callable[[str], None] = lambda _: None
) -> Comparison:
    """Compare the profile speed with reference, neither of them in bfloat16.

    Args:
        studies, say: see :func:`compare`.

    Raises:
        InvalidBundle: it is no model.
        EngineUnavailable: OpenVINO is not installed.
        InvalidInput: a study that the task cannot be run on.
        ParityFailed: no study has all of the task's modalities.
    """
    manifest = bundle.manifest
    if manifest.kind != "model":
        raise InvalidBundle(
            "only a model has profiles",
            remedy="Give the bundle of a model",
            subject=manifest.name,
        )
    with served_in(bundle, bfloat16=False) as predictor:

        def serve(part: Study, fill: FillPolicy | None) -> tuple[Result, Result]:
            return (
                predictor.predict_study(part, fill=fill),
                predictor.predict_study(part, fill=fill, profile="speed"),
            )

        return compare(bundle, studies, serve, say)


def speed_proof_of(found: Comparison, studies: int, *, packaged: bool, command: str) -> SpeedProof:
    """The proof that a comparison is, once it is near enough.

    Raises:
        ParityFailed: it is not; see :func:`check_agreement`.
    """
    check_agreement(found.agreement, GATE)
    exact, fewer = (sum(side) for side in zip(*found.windows, strict=True))
    return SpeedProof(
        runtime=f"{ENGINE} {metadata.version(ENGINE)}",
        scans="packaged" if packaged else "given",
        studies=studies,
        agreement=found.agreement,
        reference_windows=exact,
        windows=fewer,
        command=command,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
