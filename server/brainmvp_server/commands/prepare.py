"""``brainmvp prepare``: a raw study prepared as the service would, written down without a model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_models.durable import replace_folder
from brainmvp_models.errors import BrainMVPError, StorageFailed
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import Preprocessing
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import IntakeOptions, chosen_for, take_in
from brainmvp_server.imaging.nifti import compress, encode_nifti, spatial_header
from brainmvp_server.imaging.study import read_volumes
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.given_brain import given_brain
from brainmvp_server.preparation.inspect import inspect
from brainmvp_server.preparation.outlines import outlines_png
from brainmvp_server.preparation.stage import Means, PreparedStudy, prepare_study
from brainmvp_server.results.summary import PreparationDone
from brainmvp_server.runtime.scratch import Scratch


def prepare(
    study: Annotated[Path, typer.Argument(help="A folder or zip of one study: DICOM or NIfTI.")],
    out: Annotated[Path, typer.Option(help="Folder for what is made of it.")],
    space: Annotated[Space, typer.Option(help="The frame it is brought to.")] = Space.STUDY,
    spacing: Annotated[float, typer.Option(min=0.3, max=10, help="Voxels' edge, mm.")] = 1.0,
    brain: Annotated[
        Path | None,
        typer.Option(help="A brain mask of your own, on a series' grid; else it is looked for."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Bring a study's series together and find the brain, without running a model.

    Writes the series as brains on one grid, the brain's mask, the matrices as text and for ITK,
    preparation.json with the figures, and preparation.png to look at.
    """
    try:
        check_place(out, overwrite=overwrite)
        prepared = prepared_study(study, space, spacing, brain)
        with written_whole(out) as folder:
            write_prepared(prepared, folder)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
    for line in (*figures(prepared), f"written to {out}"):
        typer.echo(line)


def check_place(out: Path, *, overwrite: bool) -> None:
    """Return if the folder may be written.

    Raises:
        StorageFailed: something is there.
    """
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise StorageFailed(
            "is there already", remedy="Name another folder, or say --overwrite", subject=str(out)
        )


def prepared_study(
    study: Path, space: Space, spacing: float, brain: Path | None = None
) -> PreparedStudy:
    """Read and prepare the study of a folder or file.

    Args:
        brain: a brain mask that is taken instead of one that is looked for.

    Raises:
        InvalidInput: one of its kinds.
    """
    paths = sorted(p for p in study.rglob("*") if p.is_file()) if study.is_dir() else [study]
    edge = (spacing, spacing, spacing)
    worker = Worker(NetworkCache())
    scratch = Scratch()
    scratch.empty()
    try:
        with scratch.folder() as folder:
            files = [Unpacked(path, path.name) for path in paths]
            intake = take_in(files, folder, IntakeOptions({}, 1000.0, None))
            volumes = read_volumes(chosen_for(intake, tuple(Modality), {}))
            rules = Preprocessing(space=space, spacing_mm=edge)
            networks = BrainNetworks(worker)
            findings = inspect(volumes)
            given = None
            if brain is not None:
                given = given_brain(brain, volumes, one_world=findings.one_world)
            return prepare_study(
                volumes, rules, Means(lambda: networks), CancelToken(), _untimed, findings, given
            )
    finally:
        worker.close()


def write_prepared(prepared: PreparedStudy, folder: Path) -> None:
    """Write everything that was made into an empty folder."""
    for volume in prepared.study.volumes:
        packed = compress(encode_nifti(volume.stored, volume.header))
        (folder / f"{volume.modality}.nii.gz").write_bytes(packed)
    if prepared.brain is not None:
        mask = prepared.brain.mask.astype("uint8")
        packed = compress(encode_nifti(mask, spatial_header(prepared.brain.grid.affine)))
        found_in = prepared.brain.series[:1]
        (folder / f"{'_'.join(('brain', *found_in))}.nii.gz").write_bytes(packed)
    reference = prepared.reference.modality
    ways = {f"{reference}_to_prepared": prepared.to_worked}
    ways |= {f"{reference}_to_{name}": way for name, way in prepared.to_series.items()}
    for name, way in ways.items():
        (folder / f"{name}.txt").write_text(way.to_text(), encoding="utf-8")
        (folder / f"{name}.tfm").write_text(way.to_itk(), encoding="utf-8")
    done = PreparationDone.of(prepared.report)
    (folder / "preparation.json").write_text(done.model_dump_json(indent=2), encoding="utf-8")
    (folder / "preparation.png").write_bytes(outlines_png(prepared))


def figures(prepared: PreparedStudy) -> Iterator[str]:
    """What was done, in lines."""
    report = prepared.report
    for one in report.moved:
        yield f"{one.modality}: moved {one.moved_mm:.1f} mm onto {report.reference}"
    if report.brain_ml is not None:
        series = " and ".join(modality.value for modality in report.brain_series)
        yield f"brain: {report.brain_ml:.0f} mL, {f'found in {series}' if series else 'as given'}"
    yield from report.warnings


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when the block is through, or goes.

    Raises:
        StorageFailed: it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            folder = aside / "new"
            folder.mkdir()
            yield folder
            replace_folder(folder, out, aside / "old")
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StorageFailed(
            f"cannot be written: {error.strerror or type(error).__name__}",
            remedy="Name a folder that can be written and has room",
            subject=str(out),
        ) from None


@contextmanager
def _untimed(_: str) -> Iterator[None]:
    yield
