"""How long a viewer's images are kept, and by whom they can be had."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainmvp_models.errors import Overloaded
from brainmvp_server.api.monailabel.sessions import Sessions
from brainmvp_server.api.problems import UnknownImage
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.runtime.scratch import Scratch

LONG_S = 600.0


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture
def sessions(scratch: Path) -> Iterator[Sessions]:
    kept = Sessions(Scratch(scratch), LONG_S, most=2)
    yield kept
    kept.close()
    assert not list(scratch.iterdir())


def sent(tmp_path: Path, content: bytes = b"scan") -> tuple[Unpacked, ...]:
    path = tmp_path / "sent"
    path.write_bytes(content)
    return (Unpacked(path, "t1.nii.gz"),)


def until_empty(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while list(folder.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_files_are_taken_over_with_their_names(sessions: Sessions, tmp_path: Path) -> None:
    name = sessions.add("owner", sent(tmp_path))
    assert not (tmp_path / "sent").exists() and sessions.has("owner", name)
    with sessions.files("owner", name) as (file,):
        assert (file.path.read_bytes(), file.name) == (b"scan", "t1.nii.gz")


def test_a_session_ends_after_its_time_though_nobody_asks(scratch: Path, tmp_path: Path) -> None:
    brief = Sessions(Scratch(scratch), 0.05, most=1)
    name = brief.add("owner", sent(tmp_path))
    until_empty(scratch)
    with pytest.raises(UnknownImage), brief.files("owner", name):
        pass


def test_a_session_s_time_begins_when_nobody_works_on_it_any_more(
    scratch: Path, tmp_path: Path
) -> None:
    brief = Sessions(Scratch(scratch), 0.05, most=1)
    name = brief.add("owner", sent(tmp_path))
    with brief.files("owner", name) as (file,):
        time.sleep(0.2)
        assert brief.has("owner", name) and file.path.read_bytes() == b"scan"
    until_empty(scratch)
    assert not brief.has("owner", name)


def test_who_works_on_a_removed_session_keeps_its_files(sessions: Sessions, tmp_path: Path) -> None:
    name = sessions.add("owner", sent(tmp_path))
    with sessions.files("owner", name) as (file,):
        sessions.remove("owner", name)
        assert file.path.read_bytes() == b"scan"
    with pytest.raises(UnknownImage):
        sessions.remove("owner", name)


def test_one_name_is_one_image_and_another_owner_s_is_another(
    sessions: Sessions, tmp_path: Path
) -> None:
    sessions.add("one", sent(tmp_path, b"before"), "t1")
    sessions.add("one", sent(tmp_path, b"after"), "t1")
    sessions.add("other", sent(tmp_path, b"theirs"), "t1")
    for owner, content in (("one", b"after"), ("other", b"theirs")):
        with sessions.files(owner, "t1") as (file,):
            assert file.path.read_bytes() == content


def test_more_sessions_than_may_be_are_refused(
    sessions: Sessions, scratch: Path, tmp_path: Path
) -> None:
    first, _ = (sessions.add("owner", sent(tmp_path)) for _ in range(2))
    with pytest.raises(Overloaded):
        sessions.add("owner", sent(tmp_path))
    sessions.remove("owner", first)
    sessions.add("owner", sent(tmp_path))
    assert len([path for path in scratch.iterdir() if path.is_dir()]) == 2
