"""Studies made ready one after the other, with networks that are loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing
from brainmvp_server.commands.prepared_files import ReadyStudy
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import IntakeOptions, chosen_for, opened, take_in
from brainmvp_server.imaging.sources import Source
from brainmvp_server.imaging.study import read_volumes
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.result_space import WorkedOn
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.atlas import site_atlas
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.inspect import inspect
from brainmvp_server.preparation.look import RawStudy, look_at
from brainmvp_server.preparation.placement import off_frame
from brainmvp_server.preparation.stage import Means, prepare_study
from brainmvp_server.runtime.scratch import Scratch


@dataclass(frozen=True, eq=False)
class Preparer:
    """Makes studies ready as a service would for a task with these rules.

    Attributes:
        wanted: the modalities that are taken of a heap of files.
        folder: for what is unpacked.
    """

    rules: Preprocessing
    wanted: tuple[Modality, ...]
    means: Means
    folder: Path

    def files(self, study: Path) -> dict[Modality, Source]:
        """The series of a folder, zip or file, told apart.

        Raises:
            InvalidInput: one of its kinds; see :func:`chosen_for`.
        """
        paths = sorted(p for p in study.rglob("*") if p.is_file()) if study.is_dir() else [study]
        intake = take_in([Unpacked(p, p.name) for p in paths], self._room(), IntakeOptions())
        return chosen_for(intake, self.wanted, {})

    def series(self, named: Mapping[Modality, Path]) -> dict[Modality, Source]:
        """The series of files that somebody named.

        Raises:
            InvalidInput: one of its kinds; see :func:`one_series`.
        """
        return opened(named, self._room())

    def _room(self) -> Path:
        """A folder for what is unpacked of one study: another's has files of the same names."""
        return Path(mkdtemp(dir=self.folder))

    def ready(self, sources: Mapping[Modality, Source], brain: Path | None = None) -> ReadyStudy:
        """Read a study, and prepare it where it has to be.

        Brains on one grid that do not lie in the frame that the rules name are brought there.

        Args:
            brain: a brain mask that is taken instead of one that is looked for.

        Raises:
            InvalidInput: one of its kinds.
        """
        volumes = read_volumes(sources)
        looked = look_at(volumes, brain=brain, space=self.rules.space)
        if isinstance(looked, WorkedOn):
            findings = inspect(volumes)
            if findings.extracted and not off_frame(volumes, self.rules.space):
                return ReadyStudy(looked.study, volumes, sources, looked.warnings)
            # Brains that are wanted elsewhere; or no brains, and it will be told why they are none.
            looked = RawStudy(findings)
        made = prepare_study(volumes, self.rules, self.means, CancelToken(), _untimed, looked)
        return ReadyStudy(made, volumes, sources, made.warnings)


@contextmanager
def preparer(
    rules: Preprocessing, wanted: tuple[Modality, ...], atlas: Path | None = None
) -> Iterator[Preparer]:
    """One with an engine and a folder of its own, for the time of the block.

    Raises:
        InvalidSettings: the atlas cannot be used.
    """
    own = None if atlas is None else site_atlas(atlas)
    worker = Worker(NetworkCache())
    scratch = Scratch()
    scratch.empty()
    try:
        with scratch.folder() as folder:
            networks = BrainNetworks(worker)
            yield Preparer(rules, wanted, Means(lambda: networks, own), folder)
    finally:
        worker.close()


@contextmanager
def _untimed(_: str) -> Iterator[None]:
    yield
