"""The list of what an image is made of: whole, as its schema says, with no licence unknown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
import tomllib
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from once import Once

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "containers" / "sbom.py"
LOCK = ROOT / "locks" / "cpu.txt"
NOT_ON_LINUX = {"colorama", "tzdata"}

STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.2.13.dfsg-1

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b7
Description: GNU Bourne Again SHell
 Status: is told in a line that goes on

Package: libcrypt1
Status: install ok installed
Architecture: amd64
Version: 1:4.4.33-2

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
ZLIB = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Files: *
License: Zlib
Files: debian/*
License: GPL-2+
"""


def environment(folder: Path, names: set[str]) -> Path:
    """An environment in which only those packages are: the test's own, by links."""
    site = folder / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")
    for about in Path(sysconfig.get_path("purelib")).glob("*.dist-info"):
        if normal(PathDistribution(about).name) in names:
            (site / about.name).symlink_to(about)
    return folder


def normal(name: str) -> str:
    """A package's name as lock files write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def in_lock() -> dict[str, set[str]]:
    """The versions of each package of the lock file."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9._-]+)==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE
    ):
        found.setdefault(name, set()).add(version)
    return found


def run(packages: Path, out: Path, *more: object) -> subprocess.CompletedProcess[str]:
    """Make the list of the image cpu."""
    words = ["--image", "cpu", "--packages", packages, "--lock", LOCK, "--out", out, *more]
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def made(once: Once) -> Path:
    """Both files, of the lock's packages on a small Debian."""

    def make(folder: Path) -> None:
        system = folder / "system"
        for name, text in (
            ("zlib1g", ZLIB),
            ("bash", "see /usr/share/common-licenses/GPL-3.\n"),
            ("libcrypt1", "Permission to use, copy, modify and distribute is granted.\n"),
        ):
            place = system / "usr" / "share" / "doc" / name
            place.mkdir(parents=True)
            (place / "copyright").write_text(text)
        for path, text in (
            ("var/lib/dpkg/status", STATUS),
            ("usr/lib/os-release", 'PRETTY_NAME="Debian"\nVERSION_ID="12"\nID=debian\n'),
        ):
            (system / path).parent.mkdir(parents=True)
            (system / path).write_text(text)
        packages = environment(folder / "venv", {*in_lock(), "brainmvp"} - NOT_ON_LINUX)
        done = run(packages, folder / "out", "--system", system)
        assert done.returncode == 0, done.stderr
        (folder / "said").write_text(done.stdout)

    return once("sbom", make)


@pytest.fixture(scope="module")
def components(made: Path) -> dict[str, Any]:
    """The list's components by name."""
    whole = json.loads((made / "out" / "sbom.cdx.json").read_text())
    return {one["name"]: one for one in whole["components"]}


def test_the_list_is_as_the_strict_schema_of_cyclonedx_says(made: Path) -> None:
    text = (made / "out" / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    wrong = '{"bomFormat": "CycloneDX", "specVersion": "1.6", "component": []}'
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(wrong) is not None


def test_every_package_of_the_lock_is_in_it_with_its_address_and_its_digests(
    components: dict[str, Any],
) -> None:
    lock = LOCK.read_text("utf-8")
    for name, versions in in_lock().items():
        if name in NOT_ON_LINUX:
            continue
        one = components[name]
        assert one["version"] in versions
        assert one["purl"] == f"pkg:pypi/{name}@{one['version']}"
        (reference,) = one["externalReferences"]
        assert reference["hashes"]
        assert all(f"--hash=sha256:{found['content']}" in lock for found in reference["hashes"])


def test_no_licence_is_unknown_but_those_that_are_told_with_a_reason(
    made: Path, components: dict[str, Any]
) -> None:
    assert (made / "said").read_text().endswith("licence unknown: none\n")
    for one in components.values():
        (told, *_) = one["licenses"]
        assert told.get("expression") or told["license"].get("id") or one["purl"][:7] == "pkg:deb"
    told_file = tomllib.loads((SCRIPT.parent / "licences.toml").read_text("utf-8"))
    for name, entry in told_file.items():
        assert set(entry) == {"licence", "because"} and len(entry["because"]) > 20, name


def test_packages_of_debian_and_python_itself_are_in_it(components: dict[str, Any]) -> None:
    zlib, bash = components["zlib1g"], components["bash"]
    assert zlib["purl"].startswith("pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64")
    assert [one["license"]["name"] for one in zlib["licenses"] if "name" in one["license"]] == [
        "GPL-2+"
    ]
    (told,) = components["libcrypt1"]["licenses"]
    assert told["license"]["name"] == "as its copyright file says"
    assert bash["version"] == "5.2.15-2+b7" and "gone" not in components
    assert components["python"]["purl"] == "pkg:generic/python@3.11.7"


def test_the_licences_have_a_line_a_package_and_say_where_the_text_lies(
    made: Path, components: dict[str, Any]
) -> None:
    lines = (made / "out" / "licences.txt").read_text().splitlines()[1:]
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    assert set(rows) == set(components)
    assert rows["bash"] == ["5.2.15-2+b7", "GPL-3", "/usr/share/doc/bash/copyright"]
    with_text = [name for name, row in rows.items() if row[2]]
    assert len(with_text) > 0.8 * len(rows)


def test_a_package_beside_the_lock_ends_the_build(tmp_path: Path) -> None:
    done = run(environment(tmp_path / "venv", {"numpy", "ruff"}), tmp_path / "out")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    assert re.fullmatch(r"sbom: ruff \S+ is installed and not in the lock file\. .*\n", done.stderr)
