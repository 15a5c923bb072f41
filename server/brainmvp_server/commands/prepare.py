"""``brainmvp prepare``: a raw study prepared as the service would, written down without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_models.errors import BrainMVPError, InvalidInput
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import Preprocessing, load_task
from brainmvp_server.commands.named_series import NamedSeries, naming_files
from brainmvp_server.commands.prepare_list import prepare_list, read_case_list
from brainmvp_server.commands.prepared_files import (
    WrittenStudy,
    check_place,
    figures,
    written_whole,
)
from brainmvp_server.commands.preparer import preparer
from brainmvp_server.imaging.sources import Source
from brainmvp_server.inference.checked_study import BRAIN

SOME_FAILED = 1


@dataclass(frozen=True)
class RuleOptions:
    """What a study is brought to."""

    task: Annotated[
        str | None,
        typer.Option(help="A preset, or a task file: its frame, voxels and modalities."),
    ] = None
    space: Annotated[
        Space | None, typer.Option(help="The frame it is brought to; by default its own.")
    ] = None
    spacing: Annotated[
        float | None, typer.Option(min=0.3, max=10, help="Voxels' edge, mm; by default 1.")
    ] = None
    atlas: Annotated[
        Path | None, typer.Option(help="An atlas of your own, for the frame it lies in.")
    ] = None

    def __post_init__(self) -> None:
        if self.task is not None and (self.space is not None or self.spacing is not None):
            raise InvalidInput(
                "says the frame and the voxels itself",
                remedy="Leave out --space and --spacing, or --task",
                subject="--task",
            )

    @property
    def rules(self) -> Preprocessing:
        """As a task says it, or the options.

        Raises:
            InvalidTask: there is no such task.
        """
        if self.task is not None:
            return load_task(self.task).preprocessing
        edge = self.spacing or 1.0
        return Preprocessing(space=self.space or Space.STUDY, spacing_mm=(edge, edge, edge))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those the task takes; without one, all."""
        return tuple(Modality) if self.task is None else load_task(self.task).modalities


def prepare(
    out: Annotated[Path, typer.Option(help="Folder for what is made of it.")],
    named: NamedSeries,
    options: RuleOptions,
    study: Annotated[
        Path | None, typer.Argument(help="A folder or zip of one study: DICOM or NIfTI.")
    ] = None,
    brain: Annotated[
        Path | None,
        typer.Option(help="A brain mask of your own, on a series' grid; else it is looked for."),
    ] = None,
    datalist: Annotated[
        Path | None,
        typer.Option(help="A list of cases in JSON, instead of a study; its masks come along."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Bring a study's series together and find the brain, without running a model.

    Writes the series as brains on one grid, the brain's mask, the matrices as text and for ITK,
    preparation.json with the figures, and preparation.png to look at. A study that needs nothing
    is written as it came, bit for bit. Of --datalist, each case is written into a folder of its
    own, and datalist.json names those that could be prepared. Exit codes: 0 all done, 1 some cases
    are not in the new list, 2 bad usage or input.
    """
    try:
        check_place(out, overwrite=overwrite)
        if datalist is not None:
            _check_alone(study, named, brain)
            code = _whole_list(datalist, options, out, as_json=as_json)
            raise typer.Exit(code)
        written = _one_study(study, named, options, brain, out)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(written.model_dump_json(indent=2))
        return
    for line in (*figures(written), f"written to {out}"):
        typer.echo(line)


def _one_study(
    study: Path | None, named: NamedSeries, options: RuleOptions, brain: Path | None, out: Path
) -> WrittenStudy:
    if (study is None) is (not named.files):
        raise InvalidInput(
            "give a study's folder or zip, or its series by name, such as --t1 FILE",
            remedy="Give one of the two",
        )
    missing = [path for path in (study, brain, *named.files.values()) if path and not path.exists()]
    if missing:
        raise InvalidInput(
            "there is no such file", remedy="Check the path", subject=str(missing[0])
        )
    with preparer(options.rules, options.modalities, options.atlas) as made:
        sources = None if study is None else made.files(study)
        own = dict(named.files) if sources is None else _files_in(study, sources)
        files = {modality.value: file for modality, file in own.items()}
        with naming_files(files | ({} if brain is None else {BRAIN: brain})):
            ready = made.ready(sources or made.series(named.files), brain)
        with written_whole(out) as folder:
            return ready.write(folder, out)


def _files_in(study: Path | None, sources: Mapping[Modality, Source]) -> dict[Modality, Path]:
    """The NIfTI files that a folder holds; none of what was unpacked from a zip."""
    files = ((m, source) for m, source in sources.items() if isinstance(source, Path))
    return {m: file for m, file in files if study is not None and file.is_relative_to(study)}


def _check_alone(study: Path | None, named: NamedSeries, brain: Path | None) -> None:
    if study is not None or named.files or brain is not None:
        raise InvalidInput(
            "names all studies itself",
            remedy="Leave out the study, its series and --brain",
            subject="--datalist",
        )


def _whole_list(datalist: Path, options: RuleOptions, out: Path, *, as_json: bool) -> int:
    """Prepare every case of a list; the exit code."""
    channels = options.modalities if options.task is not None else None
    cases = read_case_list(datalist, channels)
    with preparer(options.rules, options.modalities, options.atlas) as made:
        report = prepare_list(cases, out, made, _say_nothing if as_json else typer.echo)
    for one in report.failed:
        typer.echo(f"brainmvp: {one.section}, {one.name}: {one.problem}", err=True)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    elif report.datalist is not None:
        typer.echo(f"written to {report.datalist}")
    return SOME_FAILED if report.failed else 0


def _say_nothing(_: str) -> None:
    """Where JSON is all that is to be printed."""
