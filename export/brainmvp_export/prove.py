"""``brainmvp prove``: add the proof to a bundle that this kind of CPU may run it in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_export.cpu_proof import (
    ENGINE,
    LEAST_DICE,
    LEAST_ML,
    MOST_VOLUME_ERROR,
    as_text,
    none_complete,
    proof_of,
    prove_on_cpu,
)
from brainmvp_export.parity import packaged_study
from brainmvp_models.amend import amended, with_section
from brainmvp_models.bundle import Bundle
from brainmvp_models.command_line import as_called
from brainmvp_models.errors import BrainMVPError, InvalidInput
from brainmvp_models.manifest import CpuKind, CpuProof
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_server.commands.preparer import Preparer, preparer
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.cpu_precision import LEAST_GAIN, check_bfloat16, cpu_kind
from brainmvp_training.datalist import read_datalist

_HEADING = "## bfloat16 on CPUs"


@dataclass(frozen=True)
class Scans:
    """What a proof is made on.

    Attributes:
        folders: a folder, zip or file of one study each.
        named: studies whose files' modalities are known.
    """

    folders: tuple[Path, ...] = ()
    named: tuple[Mapping[Modality, Path], ...] = ()

    def __len__(self) -> int:
        return len(self.folders) + len(self.named)

    def may_be_complete(self, task: Task) -> bool:
        """Whether one may have all modalities, as far as is known before they are read."""
        every = set(task.modalities)
        return bool(self.folders or not self.named or any(every <= set(n) for n in self.named))

    @contextmanager
    def studies(self, task: Task) -> Iterator[Iterator[Study]]:
        """Each of them prepared for a task; the packaged scan where there is none.

        Raises:
            InvalidInput: one that cannot be read or prepared.
        """
        if not len(self):
            yield iter([packaged_study(task)])
            return
        with preparer(task.preprocessing, task.modalities) as made:
            yield self._ready(made)

    def _ready(self, made: Preparer) -> Iterator[Study]:
        for folder in self.folders:
            yield made.ready(made.files(folder)).study
        for files in self.named:
            wanted = {m: file for m, file in files.items() if m in made.wanted}
            yield made.ready(made.series(wanted)).study


def prove(
    bundle: Annotated[Path, typer.Argument(help="A bundle: NAME or NAME/VERSION.")],
    studies: Annotated[
        list[Path] | None,
        typer.Argument(help="A folder or zip of one study each: DICOM or NIfTI."),
    ] = None,
    datalist: Annotated[
        Path | None, typer.Option(help="A list of studies, in JSON, or a BIDS folder.")
    ] = None,
    section: Annotated[str, typer.Option(help="Of the list; 'all' for every one.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the list's first cases.")] = None,
) -> None:
    """Prove that a bundle's network in bfloat16 gives the masks of float32 on this kind of CPU.

    Each study is segmented both ways, with all its modalities, without each of them and with each
    alone. What holds is written into the bundle with the seconds of a window both ways; a service
    on such a CPU then takes bfloat16 where it is faster. Without studies a packaged scan of a
    healthy head is taken. Every output has to be seen, and one study have all modalities: give
    patients.
    """
    try:
        opened = Bundle.open(bundle)
        scans = _scans(tuple(studies or ()), datalist, section, limit, opened.task)
        add_proof(opened, scans, as_called(), typer.echo)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None


def add_proof(
    bundle: Bundle, scans: Scans, command: str, say: Callable[[str], None] = lambda _: None
) -> Bundle:
    """The bundle with a proof for this kind of CPU in the place of an earlier one for it.

    Args:
        say: told what was found, line by line.

    Raises:
        EngineUnavailable: this CPU has no instructions for bfloat16, OpenVINO is not installed, or
            the bundle's network is in INT8.
        InvalidInput: a study that cannot be read or prepared.
        ParityFailed: masks differ by more than is allowed, or show nothing; the bundle stays.
        InvalidBundle: the folder cannot be written to.
    """
    if not scans.may_be_complete(bundle.task):
        raise none_complete(bundle.task)
    kind = cpu_kind()
    check_bfloat16(ENGINE, kind)
    assert kind is not None
    with scans.studies(bundle.task) as studies:
        found = prove_on_cpu(bundle, studies, kind)
    for one in found.agreement:
        say(as_text(one))
    count = max(len(scans), 1)
    proof = proof_of(found, kind, count, packaged=not len(scans), command=command)
    written = with_proof(bundle, proof)
    taken = "takes" if proof.gain >= LEAST_GAIN else "does not take"
    say(f"{_timing(proof)}: --cpu-precision auto {taken} it")
    say(f"wrote {written.root}")
    return written


def with_proof(bundle: Bundle, proof: CpuProof) -> Bundle:
    """The bundle, its manifest and its card, with a proof in the place of one for the same CPUs.

    Raises:
        InvalidBundle: the folder cannot be written to.
    """
    others = tuple(one for one in bundle.manifest.cpu_proofs if one.cpu != proof.cpu)
    proofs = (*others, proof)
    changed = bundle.manifest.model_copy(update={"cpu_proofs": proofs})
    return amended(bundle, changed, lambda card: with_section(card, _HEADING, _section(proofs)))


def _scans(
    folders: tuple[Path, ...], datalist: Path | None, section: str, limit: int | None, task: Task
) -> Scans:
    missing = [path for path in (*folders, datalist) if path is not None and not path.exists()]
    if missing:
        raise InvalidInput(
            "there is no such file", remedy="Check the path", subject=str(missing[0])
        )
    if datalist is None:
        return Scans(folders)
    cases = read_datalist(datalist, section, channels=task.modalities)[:limit]
    return Scans(folders, tuple(case.images for case in cases))


def _section(proofs: Sequence[CpuProof]) -> str:
    """The card's words on all proofs."""
    about = (
        "Masks in bfloat16 against float32, through the pipeline that serves: the lowest Dice and "
        f"the largest difference of volumes of all studies. At least {LEAST_DICE} and at most "
        f"{MOST_VOLUME_ERROR:.0%} are asked for; outputs under {LEAST_ML:g} mL are not judged."
    )
    return "\n\n".join([about, *map(_of_one_kind, proofs)])


def _of_one_kind(proof: CpuProof) -> str:
    scans = "the packaged scan of a healthy head" if proof.scans == "packaged" else (
        f"{proof.studies} stud{'y' if proof.studies == 1 else 'ies'}"
    )  # fmt: skip
    lines = [
        f"**{_kind_name(proof.cpu)}**, {proof.runtime}, {scans}: {_timing(proof)}. "
        f"Command: `{proof.command}` ({proof.created}).",
        "",
        "| real modalities | output | studies | Dice | volume | score |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {', '.join(one.real)} | {one.output} | {one.studies} | {_number(one.dice, '.4f')} "
        f"| {_number(one.volume_error, '.2%')} | {_number(one.score_error, '.4f')} |"
        for one in proof.agreement
    ]
    return "\n".join(lines)


def _timing(proof: CpuProof) -> str:
    return (
        f"a window takes {proof.window_s:.3g} s in place of {proof.fp32_window_s:.3g} s "
        f"({proof.gain:.2f} ×)"
    )


def _kind_name(kind: CpuKind) -> str:
    return {"amx": "AMX", "avx512_bf16": "AVX512_BF16"}[kind]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
