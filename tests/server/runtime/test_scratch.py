"""What a process works on is gone after it, however it ends, and a living one's is left alone."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.runtime.scratch import Scratch

_HOLDER = """
import sys
from pathlib import Path
from brainmvp_server.runtime.scratch import Scratch
with Scratch(Path(sys.argv[1])).folder() as folder:
    (folder / "t1").write_text("voxels")
    print(folder, flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process with a folder in the same place."""

    def __init__(self, parent: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.folder = Path(self.process.stdout.readline().strip())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_killed_process_leaves_nothing_once_the_next_one_starts(tmp_path: Path) -> None:
    dead, living = Holder(tmp_path), Holder(tmp_path)
    dead.kill()
    try:
        assert (dead.folder / "t1").exists()
        (tmp_path / "brainmvp-notes.txt").write_text("not ours")
        Scratch(tmp_path).empty()
        assert not dead.folder.exists()
        assert (living.folder / "t1").exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            ("brainmvp-notes.txt", living.folder.name, f"{living.folder.name}.lock")
        )
    finally:
        living.kill()


def test_our_own_folders_are_left_alone_by_another_start_in_the_same_process(
    tmp_path: Path,
) -> None:
    with Scratch(tmp_path).folder() as folder:
        Scratch(tmp_path).empty()
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_only_the_owner_may_look_into_a_folder(tmp_path: Path) -> None:
    with Scratch(tmp_path).folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_lock_that_is_a_link_removes_nothing(tmp_path: Path) -> None:
    """The temporary folder is everybody's: another user may put a trap there."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("x")
    (tmp_path / "brainmvp-a.lock").symlink_to(victim / "file")
    (tmp_path / "brainmvp-b.lock").touch()
    (tmp_path / "brainmvp-b").symlink_to(victim)
    Scratch(tmp_path).empty()
    assert (victim / "file").read_text() == "x"


def test_a_place_that_cannot_be_used_is_an_error_at_start_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidSettings, match="--scratch"):
        Scratch(tmp_path / "file").empty()
