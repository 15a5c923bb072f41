"""``brainmvp evaluate``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from brainmvp_evaluation.tables import HEADLINES, TITLES, setting_of
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError
from brainmvp_models.manifest import CpuPrecision
from brainmvp_models.task import FillPolicy
from brainmvp_server.commands.local import parse_policy

if TYPE_CHECKING:
    from brainmvp_evaluation.evaluate import Progress
    from brainmvp_evaluation.schema import Evaluation
    from brainmvp_models.templates import TemplateBank


_NOBODY = (
    "brainmvp: the card does not record whom it was measured on; --population FILE says so, or the "
    "list's 'populations'"
)


def evaluate(  # long: its parameters are the options of a command
    bundle: Annotated[Path, typer.Argument(help="A bundle: NAME or NAME/VERSION.")],
    datalist: Annotated[Path, typer.Argument(help="A datalist in JSON, or a BIDS folder.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the results; an evaluation that was cut goes on there.")
    ] = Path("evaluation"),
    section: Annotated[str, typer.Option(help="Of the list; 'all' for every one.")] = "test",
    root: Annotated[Path | None, typer.Option(help="Where the list's paths start.")] = None,
    subsets: Annotated[
        str,
        typer.Option(
            help="full, missing-one, all, given (each study as it is), or a list: 't1,flair;t1'."
        ),
    ] = "full",
    fill: Annotated[
        list[str] | None,
        typer.Option(help="How the rest is filled; repeat it to compare. Default: the bundle's."),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(help="Fill with these, not the bundle's: a folder or a pre-trained file."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first cases.")] = None,
    engine: Annotated[str | None, typer.Option(help="By default the preferred one.")] = None,
    cpu_precision: Annotated[
        CpuPrecision,
        typer.Option(help="On a CPU; auto is bf16 where that is proved and faster, as served."),
    ] = "auto",
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the figures into the bundle.")
    ] = False,
    population: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file that says of whom the studies are, where the list does not."
        ),
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Record the cases' names, not just their numbers.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Forget an earlier evaluation in the folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print evaluation.json.")] = False,
) -> None:
    """Measure a bundle on the pipeline that serves it, for subsets of its modalities."""
    from brainmvp_evaluation.evaluate import JOURNAL, EvaluationOptions
    from brainmvp_evaluation.evaluate import evaluate as measure
    from brainmvp_evaluation.report_files import REPORT, clear, json_of, write_files
    from brainmvp_evaluation.settings import parse_subsets
    from brainmvp_evaluation.subset_card import refuse_card, write_subset_card
    from brainmvp_models.command_line import as_called
    from brainmvp_models.population import load_population

    try:
        opened = Bundle.open(bundle)
        if write_card:
            refuse_card(opened, other_templates=templates is not None)
        options = EvaluationOptions(
            bundle=opened,
            datalist=datalist,
            out=out,
            section=section,
            subsets=parse_subsets(subsets, opened.task),
            fills=_policies(fill or []),
            root=root,
            limit=limit,
            engine=engine,
            cpu_precision=cpu_precision,
            templates=None if templates is None else _templates(templates),
            names=names,
            population=None if population is None else load_population(population),
            command=as_called(),
        )
        if overwrite:
            clear(out, JOURNAL)
        with _bars() as progress:
            found = measure(options, progress)
        write_files(found, out)
        if write_card:
            refuse_card(opened, failures=len(found.failures))
            write_subset_card(opened, found)
            if found.population is None:
                typer.echo(_NOBODY, err=True)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json_of(found))
    else:
        _show(found)
        typer.echo(f"wrote {out}" + (f" and the card of {opened.root}" if write_card else ""))
    if found.failures:
        text = f"brainmvp: {len(found.failures)} of {len(found.rows)} measurements failed"
        typer.echo(f"{text}; {out / REPORT} lists them", err=True)
        raise typer.Exit(1)


def _policies(names: list[str]) -> tuple[FillPolicy, ...]:
    found = (parse_policy(name) for name in names)
    return tuple(dict.fromkeys(policy for policy in found if policy is not None))


def _templates(path: Path) -> TemplateBank:
    from brainmvp_training.checkpoint import read_templates

    return read_templates(path)


@contextmanager
def _bars() -> Iterator[Progress]:
    """Progress bars on stderr, where that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


def _show(evaluation: Evaluation) -> None:
    """The headline figures as a table."""
    table = Table(box=None, pad_edge=False)
    for head in ("real modalities", "output", "metric", "value", "95 % interval", "studies"):
        table.add_column(head)
    for figure in evaluation.figures:
        if figure.metric not in HEADLINES[evaluation.kind]:
            continue
        between = "" if figure.low is None else f"{figure.low:.3f} to {figure.high:.3f}"
        table.add_row(str(setting_of(figure)), figure.output, TITLES[figure.metric],
                      f"{figure.value:.3f}", between, str(figure.studies))  # fmt: skip
    Console().print(table)
