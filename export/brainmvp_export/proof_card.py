"""Proofs in a bundle's manifest, and what its card says of them."""

from __future__ import annotations

from collections.abc import Sequence

from brainmvp_export import cpu_proof, speed_proof
from brainmvp_export.agreement import LEAST_ML, Gate
from brainmvp_models.amend import amended, with_section
from brainmvp_models.bundle import Bundle
from brainmvp_models.manifest import CpuKind, CpuProof, OutputAgreement, SpeedProof

_BFLOAT16 = "## bfloat16 on CPUs"
_SPEED = "## The profile speed"


def with_proof(bundle: Bundle, proof: CpuProof | SpeedProof) -> Bundle:
    """The bundle, its manifest and its card, with a proof in the place of an earlier one.

    There is one for each kind of CPU, and one of the profile.

    Raises:
        InvalidBundle: the folder cannot be written to.
    """
    manifest = bundle.manifest
    if isinstance(proof, SpeedProof):
        changed = manifest.model_copy(update={"speed_proof": proof})
        return amended(bundle, changed, lambda card: with_section(card, _SPEED, _speed(proof)))
    others = tuple(one for one in manifest.cpu_proofs if one.cpu != proof.cpu)
    proofs = (*others, proof)
    changed = manifest.model_copy(update={"cpu_proofs": proofs})
    return amended(bundle, changed, lambda card: with_section(card, _BFLOAT16, _bfloat16(proofs)))


def timing(proof: CpuProof) -> str:
    """What bfloat16 gains, in words."""
    return (
        f"a window takes {proof.window_s:.3g} s in place of {proof.fp32_window_s:.3g} s "
        f"({proof.gain:.2f} ×)"
    )


def saving(proof: SpeedProof) -> str:
    """What the profile saves, in words."""
    times = proof.reference_windows / proof.windows
    return (
        f"{proof.windows} windows in place of {proof.reference_windows} ({times:.2f} ×), "
        "all studies and subsets together"
    )


def _bfloat16(proofs: Sequence[CpuProof]) -> str:
    about = _about("Masks in bfloat16 against float32", cpu_proof.GATE)
    return "\n\n".join(
        [about, *(_section(one, f"**{_kind_name(one.cpu)}**", timing(one)) for one in proofs)]
    )


def _speed(proof: SpeedProof) -> str:
    about = _about("Masks in the profile speed against reference", speed_proof.GATE)
    return f"{about}\n\n{_section(proof, '**speed**', saving(proof))}"


def _about(what: str, gate: Gate) -> str:
    volume = "" if gate.volume_error is None else f" and at most {gate.volume_error:.0%}"
    return (
        f"{what}, through the pipeline that serves: the lowest Dice and the largest difference of "
        f"volumes of all studies. At least {gate.dice}{volume} are asked for; outputs under "
        f"{LEAST_ML:g} mL are not judged."
    )


def _section(proof: CpuProof | SpeedProof, title: str, gain: str) -> str:
    scans = "the packaged scan of a healthy head" if proof.scans == "packaged" else (
        f"{proof.studies} stud{'y' if proof.studies == 1 else 'ies'}"
    )  # fmt: skip
    lines = [
        f"{title}, {proof.runtime}, {scans}: {gain}. Command: `{proof.command}` ({proof.created}).",
        "",
        "| real modalities | output | studies | Dice | volume | score |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(_row, proof.agreement)])


def _row(one: OutputAgreement) -> str:
    return (
        f"| {', '.join(one.real)} | {one.output} | {one.studies} | {_number(one.dice, '.4f')} "
        f"| {_number(one.volume_error, '.2%')} | {_number(one.score_error, '.4f')} |"
    )


def _kind_name(kind: CpuKind) -> str:
    return {"amx": "AMX", "avx512_bf16": "AVX512_BF16"}[kind]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
