"""``brainmvp prove``: add the proof to a bundle that it may be run faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from brainmvp_export.agreement import ENGINE, Comparison, as_text, none_complete
from brainmvp_export.cpu_proof import proof_of, prove_on_cpu
from brainmvp_export.parity import packaged_study
from brainmvp_export.proof_card import saving, timing, with_proof
from brainmvp_export.speed_proof import prove_speed, speed_proof_of
from brainmvp_models.bundle import Bundle
from brainmvp_models.command_line import as_called
from brainmvp_models.errors import BrainMVPError, InvalidInput
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_server.commands.preparer import Preparer, preparer
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.cpu_precision import LEAST_GAIN, check_bfloat16, cpu_kind
from brainmvp_training.datalist import read_datalist


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
    profile: Annotated[
        Literal["speed"] | None,
        typer.Option(help="Prove the profile speed against reference, not bfloat16."),
    ] = None,
) -> None:
    """Prove that a bundle's network in bfloat16 gives the masks of float32 on this kind of CPU.

    With --profile speed, that fewer windows give those of reference. Each study is segmented both
    ways, with all its modalities, without each of them and with each alone. What holds is written
    into the bundle with what it saves; a service on such a CPU then takes bfloat16 where it is
    faster, and the profile where it is asked to. Without studies a packaged scan of a healthy head
    is taken. Every output has to be seen, and one study have all modalities: give patients.
    """
    try:
        opened = Bundle.open(bundle)
        scans = _scans(tuple(studies or ()), datalist, section, limit, opened.task)
        add = add_proof if profile is None else add_speed_proof
        add(opened, scans, as_called(), typer.echo)
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
    kind = cpu_kind()
    check_bfloat16(ENGINE, kind)
    assert kind is not None
    found = _compared(bundle, scans, prove_on_cpu, say)
    count, packaged = _counted(scans)
    proof = proof_of(found, kind, count, packaged=packaged, command=command)
    written = with_proof(bundle, proof)
    taken = "takes" if proof.gain >= LEAST_GAIN else "does not take"
    say(f"{timing(proof)}: --cpu-precision auto {taken} it")
    say(f"wrote {written.root}")
    return written


def add_speed_proof(
    bundle: Bundle, scans: Scans, command: str, say: Callable[[str], None] = lambda _: None
) -> Bundle:
    """The bundle with a proof of the profile speed in the place of an earlier one.

    Args:
        say: told what was found, line by line.

    Raises:
        EngineUnavailable: OpenVINO is not installed.
        InvalidInput, ParityFailed, InvalidBundle: as for :func:`add_proof`.
    """
    found = _compared(bundle, scans, prove_speed, say)
    count, packaged = _counted(scans)
    proof = speed_proof_of(found, count, packaged=packaged, command=command)
    written = with_proof(bundle, proof)
    say(saving(proof))
    say(f"wrote {written.root}")
    return written


def _compared(
    bundle: Bundle,
    scans: Scans,
    compare: Callable[[Bundle, Iterable[Study]], Comparison],
    say: Callable[[str], None],
) -> Comparison:
    """What a comparison of a bundle on some scans finds, and is said of it.

    Raises:
        ParityFailed: no study has all of the task's modalities.
    """
    if not scans.may_be_complete(bundle.task):
        raise none_complete(bundle.task)
    with scans.studies(bundle.task) as studies:
        found = compare(bundle, studies)
    for one in found.agreement:
        say(as_text(one))
    return found


def _counted(scans: Scans) -> tuple[int, bool]:
    """How many studies were compared, and whether that was the packaged one."""
    return max(len(scans), 1), not len(scans)


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
