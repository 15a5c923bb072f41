"""What lies where below a run's output folder.

A run of one process keeps everything side by side::

    DIR/ledger.sqlite, results.*, studies/NAME/

One of many processes has a ledger and tables a shard, and the results of all in one tree::

    DIR/shards/00003-of-00064/ledger.sqlite, results.*
    DIR/studies/ab/cd/NAME/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from brainmvp_clients.errors import OutputExists
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.private_files import make_private
from brainmvp_clients.score.shard import Shard, spread

LEDGER, STUDIES, SPOOL, SHARDS, WORK = "ledger.sqlite", "studies", "spool", "shards", ".work"
_BEFORE_A_LEDGER = frozenset({SPOOL, WORK, "ledger.lock"})
"""What may be there when a run was killed before it had a ledger."""


@dataclass(frozen=True)
class OutputFolder:
    """The output folder of a run, or of one shard of it."""

    root: Path
    shard: Shard | None = None

    @property
    def own(self) -> Path:
        """Where this process keeps its ledger, its tables and what it works on."""
        return self.root / SHARDS / self.shard.folder if self.shard else self.root

    @property
    def studies(self) -> Path:
        """Below which all results lie."""
        return self.root / STUDIES

    def place(self, name: str) -> PurePosixPath:
        """A study's folder of results, below :attr:`studies`."""
        return spread(name) if self.shard else PurePosixPath(name)

    def open(self, *, resume: bool) -> None:
        """See that the folder is new, or holds an earlier run that is to be gone on with; make it.

        Raises:
            OutputExists: it is neither.
            Unwritable: it cannot be made.
        """
        if self.shard is not None:
            _check_shards(self.root, self.shard)
            for folder in (self.root, self.root / SHARDS):
                make_private(folder)
        _check_own(self.own, resume=resume)
        make_private(self.own)


def shards_in(root: Path) -> list[Shard]:
    """The shards that have a folder there, in order."""
    folder = root / SHARDS
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = [shard for name in names if (shard := Shard.of_folder(name)) is not None]
    return sorted(found, key=lambda shard: (shard.count, shard.number))


def _check_own(folder: Path, *, resume: bool) -> None:
    with writing(folder):
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names -= _BEFORE_A_LEDGER
    if SHARDS in names:
        raise OutputExists(
            "holds the shards of an earlier run",
            remedy="Give the --shard I/N that is to go on, or another folder",
            subject=str(folder),
        )
    if LEDGER in names and not resume:
        raise OutputExists(
            "holds an earlier run",
            remedy="Go on with it by --resume, or give another folder",
            subject=str(folder),
        )
    if names and LEDGER not in names:
        raise OutputExists(
            "is not empty and holds no earlier run", remedy="Give a new folder", subject=str(folder)
        )


def _check_shards(root: Path, shard: Shard) -> None:
    """See that a shard may work there: two ways to divide the studies would double them."""
    with writing(root):
        names = {path.name for path in root.iterdir()} if root.is_dir() else set()
        counts = {other.count for other in shards_in(root)} - {shard.count}
    if LEDGER in names:
        raise OutputExists(
            "holds a run without shards",
            remedy="Go on with it without --shard, or give another folder",
            subject=str(root),
        )
    if counts:
        raise OutputExists(
            f"holds shards of {min(counts)}, not of {shard.count}",
            remedy="Give the same number of shards, or another folder",
            subject=str(root),
        )
    if names and SHARDS not in names:
        raise OutputExists(
            "is not empty and holds no earlier run", remedy="Give a new folder", subject=str(root)
        )
