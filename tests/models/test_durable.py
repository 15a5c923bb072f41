"""Folders that change whole: what was there is kept until the new one has its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmvp_models.durable import replace_folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A new folder, the one to be replaced, and a name aside."""
    new, target = tmp_path / "new", tmp_path / "target"
    for folder in (new, target):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    return new, target, tmp_path / "aside"


def test_the_new_folder_takes_the_old_ones_place(folders: tuple[Path, Path, Path]) -> None:
    new, target, aside = folders
    replace_folder(new, target, aside)
    assert (target / "name").read_text() == "new"
    assert not new.exists() and not aside.exists()


def test_a_free_place_is_simply_taken(folders: tuple[Path, Path, Path]) -> None:
    new, target, aside = folders
    replace_folder(new, target.with_name("free"), aside)
    assert (target.with_name("free") / "name").read_text() == "new"
    assert (target / "name").read_text() == "target"


def test_the_old_folder_is_back_where_the_new_one_cannot_be_moved(
    folders: tuple[Path, Path, Path],
) -> None:
    _, target, aside = folders
    with pytest.raises(OSError, match="No such file"):
        replace_folder(target.with_name("never written"), target, aside)
    assert (target / "name").read_text() == "target"
    assert not aside.exists()
