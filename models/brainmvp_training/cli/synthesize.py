"""``brainmvp synthesize``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_models.modality import BANK_ORDER, parse_modality
from brainmvp_training.cli.terminal import bar, plain_errors

_ALL = ",".join(modality.value for modality in BANK_ORDER)


def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder; gets studies and datalist.json.")],
    studies: Annotated[int, typer.Option(min=1, help="How many studies to make.")] = 20,
    section: Annotated[
        str, typer.Option(help="Section of the datalist: training, validation, test.")
    ] = "training",
    modalities: Annotated[str, typer.Option(help="Comma-separated; by default all eight.")] = _ALL,
    anatomy: Annotated[
        Path | None,
        typer.Option(help="A brain-extracted T1 of 1 mm to make subjects of; by default MNI152."),
    ] = None,
    healthy: Annotated[float, typer.Option(min=0, max=1, help="Share without a lesion.")] = 0.15,
    enhancing: Annotated[
        float, typer.Option(min=0, max=1, help="Share of lesions that enhance.")
    ] = 0.65,
    loose: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share whose brain extraction left CSF in its hollows."),
    ] = 0.0,
    missing: Annotated[
        float, typer.Option(min=0, max=1, help="Chance of each modality to be absent.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    processes: Annotated[int, typer.Option(min=1)] = os.cpu_count() or 1,
) -> None:
    """Make synthetic multi-parametric studies with gliomas from a real anatomy.

    An interrupted call goes on where it stopped when it is given again.
    """
    from brainmvp_training.synthetic.synthetic_study import Recipe
    from brainmvp_training.synthetic.writing import SynthesisOptions, write_studies

    with plain_errors(), bar() as progress:
        task = progress.add_task("studies", total=studies)
        options = SynthesisOptions(
            out=out,
            section=section,
            studies=studies,
            recipe=Recipe(
                tuple(parse_modality(name) for name in modalities.split(",")),
                healthy=healthy,
                enhancing=enhancing,
                loose=loose,
            ),
            seed=seed,
            anatomy=anatomy,
            missing=missing,
        )
        path = write_studies(options, processes=processes, on_study=lambda: progress.advance(task))
    typer.echo(f"wrote {path}: section '{section}', {studies} studies")
