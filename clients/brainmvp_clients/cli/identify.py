"""``brainmvp identify``: which series of a study is which modality, here or on a server."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_clients.answers import Findings, parse
from brainmvp_clients.cli import plugins
from brainmvp_clients.cli.connection import connected
from brainmvp_clients.cli.problems import UsageProblem
from brainmvp_clients.cli.show import show_findings
from brainmvp_clients.dicom import DicomOptions
from brainmvp_clients.errors import LocalFileError
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.folders import files_below, is_dicom
from brainmvp_clients.score.names import name_evidence
from brainmvp_clients.score.study_files import FILES
from brainmvp_clients.score.volume_files import is_volume
from brainmvp_clients.upload import open_volume


def identify(
    study: Annotated[Path, typer.Argument(help="A folder of DICOM or NIfTI files, or a zip.")],
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask this server, by its rules.")
    ] = None,
    assign: Annotated[
        list[str] | None, typer.Option(help="NUMBER:MODALITY, or NUMBER:none; may be repeated.")
    ] = None,
    b_value: Annotated[
        float | None, typer.Option(help="Preferred diffusion weighting, s/mm²; 1000 by default.")
    ] = None,
    rules: Annotated[Path | None, typer.Option(help="A site's own rules (YAML).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which series or file is which modality, and on what evidence."""
    if server and rules:
        raise UsageProblem(
            "has no effect with --server", remedy="A server has its own", subject="--rules"
        )
    if not study.exists():
        raise LocalFileError(
            "there is no such study", remedy="Give a folder or a zip", subject=str(study)
        )
    try:
        options = DicomOptions(tuple(assign or ()), b_value)
    except ValueError as error:
        raise UsageProblem(
            str(error).partition(":")[0], remedy="Write it as 5:t1c", subject="--assign"
        ) from None
    if server is None:
        text = _locally(study, options, rules)
        findings = parse(Findings, text, subject=str(study))
    else:
        findings = _on_server(study, options, server)
        text = findings.model_dump_json(indent=2)
    if not findings.volumes:
        damaged = f"; {findings.unreadable} files are damaged" if findings.unreadable else ""
        raise LocalFileError(
            f"holds no image{damaged}", remedy="Check the path", subject=str(study)
        )
    if as_json:
        typer.echo(text)
    else:
        show_findings(findings)


def _locally(study: Path, options: DicomOptions, rules: Path | None) -> str:
    run = plugins.load(
        plugins.LOCAL,
        "identify",
        needed_for="brainmvp identify without --server",
        extras="server",
    )
    return str(run(study, options.assign, options.b_value, rules))


def _on_server(study: Path, options: DicomOptions, server: str) -> Findings:
    with tempfile.TemporaryDirectory(prefix="brainmvp-") as scratch, connected(server) as client:
        sent = study
        if study.is_dir() or is_volume(study):
            sent = packed(study, Path(scratch))
        return client.identify({FILES: sent}, dicom=options)


def packed(study: Path, scratch: Path) -> Path:
    """A zip of a folder's images, or of one volume, without their names.

    Of a volume's name the modality is kept.

    Raises:
        LocalFileError: there is no image, or it cannot be read.
    """
    inside = [study] if study.is_file() else files_below(study)
    files = [path for path in inside if is_volume(path) or is_dicom(path)]
    if not files:
        raise LocalFileError("holds no image", remedy="Check the path", subject=str(study))
    archive = scratch / "study.zip"
    with (
        writing(archive),
        zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, strict_timestamps=False) as zipped,
    ):
        for number, path in enumerate(files, start=1):
            # Of a volume's name the words that tell count; the rest can be a patient's.
            said = name_evidence(path.name)
            telling = said.modality or "_".join(said.words) or "unnamed"
            word = f"_{telling}.nii" if is_volume(path) else ".dcm"
            with open_volume(path, FILES):  # what cannot be read is named, not the archive
                zipped.write(path, f"{number:06d}{word}")
    return archive
