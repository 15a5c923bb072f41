"""``brainmvp identify``: which series of a study is which modality, without a model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_server.findings import Findings


def identify(
    study: Annotated[Path, typer.Argument(help="A folder of DICOM or NIfTI files, or a zip.")],
    assign: Annotated[
        list[str] | None, typer.Option(help="NUMBER:MODALITY, or NUMBER:none; may be repeated.")
    ] = None,
    b_value: Annotated[float, typer.Option(help="Preferred diffusion weighting, s/mm².")] = 1000.0,
    rules: Annotated[Path | None, typer.Option(help="A site's own rules (YAML).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which series or file is which modality, and on what evidence."""
    from brainmvp_models.errors import BrainMVPError

    try:
        findings = _found(study, assign or [], b_value, rules)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(findings.model_dump_json(indent=2))
        return
    for one in findings.volumes:
        what = one.modality.value if one.modality else "-"
        mark = "*" if one.used else " "
        typer.echo(f"{mark} {one.label:8} {what:6} {one.confidence:7} {one.description or ''}")
        typer.echo(f"    {one.reason}; {'; '.join(one.evidence)}".rstrip("; "))
    typer.echo(f"{findings.other} other and {findings.unreadable} unreadable files")


def _found(study: Path, assign: list[str], b_value: float, rules: Path | None) -> Findings:
    from brainmvp_models.errors import NothingIdentified
    from brainmvp_server.api.studies import assignment
    from brainmvp_server.imaging.archive import Unpacked
    from brainmvp_server.imaging.intake import Wishes, take_in

    paths = sorted(path for path in study.rglob("*") if path.is_file()) or [study]
    if not paths[0].is_file():
        raise NothingIdentified(
            "no such study", remedy="Give a folder or a zip", subject=study.name
        )
    wishes = Wishes(dict(map(assignment, assign)), b_value, rules)
    with tempfile.TemporaryDirectory(prefix="brainmvp-") as scratch:
        files = [Unpacked(path, path.name) for path in paths]
        return Findings.of(take_in(files, Path(scratch), wishes))
