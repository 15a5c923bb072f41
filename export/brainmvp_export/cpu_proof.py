"""Prove that a CPU may compute a bundle's network in bfloat16, by serving both ways."""

from __future__ import annotations

import statistics
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
from brainmvp_models.errors import EngineUnavailable
from brainmvp_models.manifest import CpuKind, CpuProof
from brainmvp_models.task import FillPolicy
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.result import Result

GATE = Gate(dice=0.995, volume_error=0.01, score_error=0.01, instead="serve this bundle in fp32")


def prove_on_cpu(
    bundle: Bundle, studies: Iterable[Study], say: Callable[[str], None] = lambda _: None
) -> Comparison:
    """Compare a network in bfloat16 with float32 on this CPU.

    Args:
        studies, say: see :func:`compare`.

    Raises:
        EngineUnavailable: the network is in INT8, the bundle no model, or OpenVINO not installed.
        InvalidInput: a study that the task cannot be run on.
        ParityFailed: no study has all of the task's modalities.
    """
    manifest = bundle.manifest
    if manifest.kind != "model" or manifest.network.precision == "int8":
        raise EngineUnavailable(
            "only a model whose network is not in INT8 is computed in bfloat16",
            remedy="Give the bundle of such a model",
            subject=manifest.name,
        )
    with served_in(bundle, bfloat16=False) as exact, served_in(bundle, bfloat16=True) as rounded:

        def serve(part: Study, fill: FillPolicy | None) -> tuple[Result, Result]:
            return exact.predict_study(part, fill=fill), rounded.predict_study(part, fill=fill)

        return compare(bundle, studies, serve, say)


def proof_of(
    found: Comparison, kind: CpuKind, studies: int, *, packaged: bool, command: str
) -> CpuProof:
    """The proof that a comparison is, once it is near enough.

    Raises:
        ParityFailed: it is not; see :func:`check_agreement`.
    """
    check_agreement(found.agreement, GATE)
    exact, rounded = (statistics.median(side) for side in zip(*found.windows_s, strict=True))
    return CpuProof(
        cpu=kind,
        runtime=f"{ENGINE} {metadata.version(ENGINE)}",
        scans="packaged" if packaged else "given",
        studies=studies,
        agreement=found.agreement,
        fp32_window_s=round(exact, 4),
        window_s=round(rounded, 4),
        command=command,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
