"""What ``brainmvp prepare`` writes of a study, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from brainmvp_models.durable import replace_folder
from brainmvp_models.errors import StorageFailed
from brainmvp_models.modality import Modality
from brainmvp_server.commands.writing import writing
from brainmvp_server.imaging.file_starts import nifti_ending
from brainmvp_server.imaging.nifti import compress, encode_nifti, spatial_header
from brainmvp_server.imaging.sources import Source
from brainmvp_server.imaging.study import Study
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.result_space import PreparationWarning
from brainmvp_server.preparation.stage import PreparedStudy
from brainmvp_server.results.summary import PreparationDone
from brainmvp_server.results.wire import Wire


class WrittenStudy(Wire):
    """What was written of one study."""

    folder: str
    prepared: bool = Field(description="False where it needed nothing, and was written as it came.")
    series: dict[Modality, str] = Field(description="The file of each series, in the folder.")
    preparation: PreparationDone | None = Field(
        default=None, description="The figures; null where nothing was done."
    )
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ReadyStudy:
    """A study that models can read, and where it came from.

    Attributes:
        made: what was prepared; the study as it came, where it needed nothing.
        volumes: the series as they were read.
        sources: what they were read from.
        warnings: what a reader should know of it.
    """

    made: PreparedStudy | Study
    volumes: tuple[Volume, ...]
    sources: Mapping[Modality, Source]
    warnings: tuple[PreparationWarning, ...] = ()

    @property
    def study(self) -> Study:
        """The series as models read them."""
        return self.made if isinstance(self.made, Study) else self.made.study

    def write(self, folder: Path, shown: Path) -> WrittenStudy:
        """Write everything that was made into an empty folder.

        Args:
            shown: where the folder will be.
        """
        made = self.made
        study = made if isinstance(made, Study) else made.study
        notes = tuple(note for one in study.volumes for note in one.warnings)
        notes = (*(warning.text for warning in self.warnings), *notes)
        if isinstance(made, Study):
            series = {one.modality: self._write_as_it_came(one, folder) for one in made.volumes}
            return WrittenStudy(folder=str(shown), prepared=False, series=series, warnings=notes)
        return WrittenStudy(
            folder=str(shown),
            prepared=True,
            series=write_prepared(made, folder),
            preparation=PreparationDone.of(made.report),
            warnings=notes,
        )

    def _write_as_it_came(self, volume: Volume, folder: Path) -> str:
        """The very file where it is NIfTI; else its voxels, each with the value it had."""
        source = self.sources[volume.modality]
        ending = nifti_ending(source) if isinstance(source, Path) else None
        if isinstance(source, Path) and ending and any(volume is one for one in self.volumes):
            name = f"{volume.modality}{ending}"
            shutil.copyfile(source, folder / name)
            return name
        return _write_volume(volume, folder)


def write_prepared(prepared: PreparedStudy, folder: Path) -> dict[Modality, str]:
    """Write the series, the mask, the matrices, the figures and the picture; the series' files."""
    series = {one.modality: _write_volume(one, folder) for one in prepared.study.volumes}
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
    (folder / "preparation.png").write_bytes(prepared.report.picture())
    return series


def figures(written: WrittenStudy) -> Iterator[str]:
    """What was done, in lines."""
    done = written.preparation
    if done is None:
        yield "it needed nothing: brains on one grid, written as they came"
    else:
        for one in done.moved:
            yield f"{one.modality}: moved {one.moved_mm:.1f} mm onto {done.reference}"
        if done.brain_ml is not None:
            series = " and ".join(modality.value for modality in done.brain_series)
            yield f"brain: {done.brain_ml:.0f} mL, {f'found in {series}' if series else 'as given'}"
    yield from written.warnings


def check_place(out: Path, *, overwrite: bool) -> None:
    """Return if the folder may be written.

    Raises:
        StorageFailed: something is there.
    """
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise StorageFailed(
            "is there already", remedy="Name another folder, or say --overwrite", subject=str(out)
        )


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when the block is through, or goes.

    Raises:
        StorageFailed: it cannot be written.
    """
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            folder = aside / "new"
            folder.mkdir()
            yield folder
            replace_folder(folder, out, aside / "old")
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _write_volume(volume: Volume, folder: Path) -> str:
    name = f"{volume.modality}.nii.gz"
    voxels = volume.stored
    if (volume.slope, volume.intercept) != (1.0, 0.0):
        voxels = volume.values(volume.stored)
    (folder / name).write_bytes(compress(encode_nifti(voxels, volume.header)))
    return name
