"""Whether a CPU computes a model's network in bfloat16: proved for its kind, or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable
from brainmvp_models.manifest import CpuKind, CpuPrecision
from brainmvp_server.inference.engines.protocol import ENGINES, chosen_engine, chosen_form

LEAST_GAIN = 1.1
"""``auto`` takes bfloat16 where a window is at least so many times as fast as in float32."""

_CPU_INFO = Path("/proc/cpuinfo")
_OTHERWISE = "serve with --cpu-precision auto or fp32"


@cache
def cpu_kind(info: Path = _CPU_INFO) -> CpuKind | None:
    """The instructions with which this CPU multiplies in bfloat16; None where it has none.

    Only Linux says: elsewhere none are known.
    """
    try:
        lines = info.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    if {"amx_bf16", "amx_tile"} <= set(flags):
        return "amx"
    return "avx512_bf16" if "avx512_bf16" in flags else None


def in_bfloat16(
    bundle: Bundle, engine: str | None, wanted: CpuPrecision, kind: CpuKind | None
) -> bool:
    """Whether a bundle's network is computed in bfloat16 on a CPU of a kind.

    Those that find brains never are: in bfloat16 they find other brains.

    Args:
        engine: by default the preferred one of those installed that run the network.

    Raises:
        EngineUnavailable: bf16 is wanted, and the engine, the CPU or the bundle is not made for it.
    """
    manifest = bundle.manifest
    if wanted == "fp32" or manifest.kind != "model":
        return False
    proof = next((proof for proof in manifest.cpu_proofs if proof.cpu == kind), None)
    if wanted == "auto" and (proof is None or proof.gain < LEAST_GAIN):
        return False
    chosen, _ = chosen_form(bundle.forms, engine, manifest.network.precision)
    if wanted == "auto":
        return ENGINES[chosen].bfloat16
    check_bfloat16(chosen, kind)
    if proof is None:
        raise EngineUnavailable(
            f"the bundle has no proof for bfloat16 on CPUs with {kind}",
            remedy=f"Prove it on such a machine with 'brainmvp prove', or {_OTHERWISE}",
            subject=f"{manifest.name}/{manifest.version}",
        )
    return True


def check_bfloat16(engine: str | None, kind: CpuKind | None) -> None:
    """Refuse bfloat16 where an engine, or a CPU of a kind, cannot compute in it.

    Raises:
        EngineUnavailable: it cannot, or there is no such engine.
    """
    chosen = chosen_engine(engine)
    if not ENGINES[chosen].bfloat16:
        able = " or ".join(name for name, known in ENGINES.items() if known.bfloat16)
        raise EngineUnavailable(
            f"the engine '{chosen}' does not compute in bfloat16 on CPUs",
            remedy=f"Choose the engine {able}, or {_OTHERWISE}",
        )
    if kind is None:
        raise EngineUnavailable(
            "this CPU has no instructions for bfloat16: neither AMX nor AVX512_BF16",
            remedy=f"Choose another machine, or {_OTHERWISE}",
        )


def check_cpu_precision(
    wanted: CpuPrecision, engine: str | None, bundles: Iterable[Bundle], kind: CpuKind | None
) -> None:
    """Refuse to serve bundles in bfloat16 that this machine cannot, or may not, compute in it.

    Raises:
        EngineUnavailable: bf16 is wanted, and cannot be had for one of them.
    """
    if wanted != "bf16":
        return
    check_bfloat16(engine, kind)
    for bundle in bundles:
        in_bfloat16(bundle, engine, wanted, kind)
