"""The recipe for Apptainer makes what the Dockerfile makes, and the SLURM job calls what there is.

Apptainer is not among Debian's packages: its file is read as its documentation says, and held
against the Dockerfile, whose steps are run by ``make container-test``.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.core import TyperArgument, TyperOption

from brainmvp_clients.cli.commands import load

ROOT = Path(__file__).parents[1]
DEFINITION = (ROOT / "containers" / "brainmvp.def").read_text("utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
JOB = ROOT / "containers" / "score.sbatch"


@dataclass
class Stage:
    """A stage of a definition: its header, and its sections by name."""

    header: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)


def stages() -> list[Stage]:
    """The definition's stages; each begins with ``Bootstrap:``."""
    found: list[Stage] = []
    section = ""
    for line in DEFINITION.splitlines():
        if line.startswith("Bootstrap:"):
            found.append(Stage())
            section = ""
        if line.startswith("%"):
            section = line
            found[-1].sections[section] = ""
        elif section:
            found[-1].sections[section] += line.strip() + "\n"
        elif ": " in line and not line.startswith("#"):
            key, _, value = line.partition(": ")
            found[-1].header[key] = value
    return found


def docker(name: str) -> str:
    """A stage of the Dockerfile."""
    (found,) = re.findall(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)
    return str(found)


def test_both_stages_stand_on_the_base_of_the_dockerfile() -> None:
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)", DOCKERFILE, re.MULTILINE)
    assert [stage.header["Stage"] for stage in stages()] == ["packages", "final"]
    for stage in stages():
        assert stage.header["Bootstrap"] == "docker" and stage.header["From"] == "{{ base }}"
        assert f"base={base}\n" in stage.sections["%arguments"]


def test_its_steps_are_those_of_the_dockerfile() -> None:
    """Every pip, compileall and sbom call of the image, with its options, in its order."""
    docker_text = docker("wheel") + docker("cpu-packages") + docker("cpu-sbom")
    text = stages()[0].sections["%post"].replace("{{ packages }}", "cpu")

    def steps(script: str) -> list[str]:
        joined = re.sub(r"\\\n\s*", " ", script)
        calls = re.findall(r"(?:python3 -m|/\w+(?:/\w+)*/bin/(?:pip|python)) [^&\n]*", joined)
        plain = (re.sub(r"\s+", " ", call).strip() for call in calls)
        # The source lies in another folder in one of them, and so does a lock file.
        return [call.replace(" /locks/", " locks/").replace("/source", ".") for call in plain]

    assert steps(text) == steps(docker_text)
    assert len(steps(text)) == 11
    for setting in re.findall(r"(?:PIP_\w+|SOURCE_DATE_EPOCH)=\d+", docker("wheel")):
        assert setting in text


def test_every_file_that_it_copies_is_there_and_every_folder_is_used() -> None:
    copied = [line.split() for line in stages()[0].sections["%files"].splitlines() if line]
    for source, target in copied:
        assert (ROOT / source).exists() and target.startswith("/")
    wanted = set(re.findall(r"^COPY ([a-z]+) [a-z]+$", docker("wheel"), re.MULTILINE))
    assert wanted <= {source for source, _ in copied}
    kept = stages()[1].sections["%files from packages"].split()
    assert {"/opt/brainmvp", "/usr/share/brainmvp"} == set(kept)


@pytest.mark.parametrize("packages", ["cpu", "gpu-torch"])
def test_the_lock_files_that_it_may_be_built_of_are_there(packages: str) -> None:
    assert f"packages={packages}" in DEFINITION
    assert (ROOT / "locks" / f"{packages}.txt").is_file()


def test_the_jobs_shell_is_sound() -> None:
    done = subprocess.run(["/bin/sh", "-n", JOB], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert JOB.stat().st_mode & 0o111


def test_the_job_calls_commands_by_options_that_there_are() -> None:
    text = re.sub(r"\\\n\s*", " ", JOB.read_text("utf-8"))
    calls = re.findall(r'"\$@" (\w+)([^\n&)]*)', text)
    assert [name for name, _ in calls] == ["keys", "serve", "score"]
    for name, rest in calls:
        known = {
            option
            for parameter in load(name).params
            if isinstance(parameter, TyperOption | TyperArgument)
            for option in parameter.opts
        }
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, name
