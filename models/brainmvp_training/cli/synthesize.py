"""``brainmvp synthesize``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import BANK_ORDER, parse_modality
from brainmvp_training.cli.terminal import bar, plain_errors

if TYPE_CHECKING:
    from brainmvp_training.synthetic.wide.wide_study import WideRecipe

_ALL = ",".join(modality.value for modality in BANK_ORDER)


def synthesize(  # long: an option is three lines
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
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="Tumours, contrasts, slices and brain extractions of many kinds: T1, T1c, T2 and "
            "FLAIR at 2 mm.",
        ),
    ] = False,
    heads: Annotated[
        Path | None,
        typer.Option(help="For --wide: label maps of whole heads, head_NN.nii.gz; else MNI152."),
    ] = None,
    brains: Annotated[
        Path | None,
        typer.Option(help="For --wide: real brains to put tumours into, a folder of series each."),
    ] = None,
    exam: Annotated[
        bool, typer.Option("--exam", help="For --wide: the heads that no training uses.")
    ] = False,
    healthy: Annotated[float, typer.Option(min=0, max=1, help="Share without a tumour.")] = 0.15,
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
        _check_kind(anatomy, wide=wide, parts=heads or brains or exam)
        recipe = (
            _wide_recipe(heads, brains, healthy, exam=exam)
            if wide
            else Recipe(
                tuple(parse_modality(name) for name in modalities.split(",")),
                healthy=healthy,
                enhancing=enhancing,
                loose=loose,
            )
        )
        options = SynthesisOptions(
            out=out,
            section=section,
            studies=studies,
            recipe=recipe,
            seed=seed,
            anatomy=anatomy,
            missing=missing,
        )
        path = write_studies(options, processes=processes, on_study=lambda: progress.advance(task))
    typer.echo(f"wrote {path}: section '{section}', {studies} studies")


def _check_kind(anatomy: Path | None, *, wide: bool, parts: Path | bool) -> None:
    """Refuse options of the other kind of studies."""
    if wide and anatomy:
        raise InvalidDatalist(
            "wide studies are made of heads, not of one T1",
            remedy="Leave --anatomy out, or --wide",
            subject="--anatomy",
        )
    if parts and not wide:
        raise InvalidDatalist(
            "only wide studies are made of heads and real brains",
            remedy="Give --wide, too",
            subject="--heads, --brains, --exam",
        )


def _wide_recipe(
    heads: Path | None, brains: Path | None, healthy: float, *, exam: bool
) -> WideRecipe:
    from brainmvp_training.synthetic.wide.heads import head_files
    from brainmvp_training.synthetic.wide.real_brains import brain_folders
    from brainmvp_training.synthetic.wide.wide_study import WideRecipe

    if heads is None:
        typer.echo("no --heads: subjects are made of MNI152, which has no skull and no vessels")
    return WideRecipe(
        heads=head_files(heads, exam=exam) if heads else (),
        brains=brain_folders(brains) if brains else (),
        healthy=healthy,
    )
