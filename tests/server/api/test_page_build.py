"""The page in the package is what its source builds to: nobody edits or forgets one of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from brainmvp_server.api.page import DOCS, PAGE, assets

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "server" / "page"
BUILT = ROOT / "server" / "brainmvp_server" / "page"
SOURCES = ("src", "build.mjs", "package-lock.json", "package.json", "tsconfig.json")


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BUILT / "build.json").read_text())
    return found


def _files() -> list[str]:
    """Every source file, by its path from the page's folder."""
    found = []
    for name in SOURCES:
        path = SOURCE / name
        inside = path.rglob("*") if path.is_dir() else [path]
        found += [p.relative_to(SOURCE).as_posix() for p in inside if p.is_file()]
    return sorted(found)


def test_the_page_was_built_from_the_source_that_is_there(build: dict[str, Any]) -> None:
    digest = hashlib.sha256()
    for name in _files():
        digest.update(f"{name}\0".encode() + (SOURCE / name).read_bytes() + b"\0")
    assert build["source"] == digest.hexdigest(), "server/page has changed: make page"


def test_no_built_file_was_changed_lost_or_added(build: dict[str, Any]) -> None:
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in BUILT.iterdir()
        if path.name != "build.json"
    }
    assert found == build["files"]


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]
    assert all("integrity" in entry for name, entry in lock["packages"].items() if name)


def test_the_pages_name_files_that_are_there_and_no_script_of_their_own() -> None:
    names = set(assets())
    for page in (PAGE, DOCS):
        html = assets()[page].plain.decode()
        assert "<script>" not in html and "<style" not in html and " style=" not in html
        linked = [part.split('"')[0] for part in html.split('"page/')[1:]]
        assert linked and set(linked) <= names
