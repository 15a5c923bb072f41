"""Whatever a message advises can be done where the message is read.

The advice is read from the source: every ``remedy=`` of every package. Each option that it names
is held against the commands that can show it, and each choice that a server's refusal may suggest
against every way to send a study.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from fastapi import FastAPI
from typer.core import TyperCommand

import brainmvp_clients
import brainmvp_evaluation
import brainmvp_export
import brainmvp_models
import brainmvp_server
import brainmvp_training
from brainmvp_clients import AsyncClient, Client, DicomOptions
from brainmvp_clients.cli.commands import listed, load
from brainmvp_server.api.app import create_app
from brainmvp_server.commands import local
from brainmvp_server.settings import Settings, entries

PACKAGES = (
    brainmvp_clients,
    brainmvp_evaluation,
    brainmvp_export,
    brainmvp_models,
    brainmvp_server,
    brainmvp_training,
)
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_PIP = re.compile(r"pip install[^;.]*")

# Whose commands show the remedies of a part of the source; the longest prefix counts.
READERS = {
    "brainmvp_clients": ("predict", "identify", "models", "dicom-listen", "score"),
    "brainmvp_clients/cli/dicom_listen.py": ("dicom-listen",),
    "brainmvp_clients/cli/predict.py": ("predict",),
    "brainmvp_clients/cli/source_options.py": ("score",),
    "brainmvp_clients/score": ("score",),
    "brainmvp_export": ("export", "build-engines"),
    "brainmvp_export/agreement.py": ("prove",),
    "brainmvp_export/cpu_proof.py": ("prove",),
    "brainmvp_export/prove.py": ("prove",),
    "brainmvp_export/speed_proof.py": ("prove",),
    "brainmvp_evaluation": ("evaluate",),
    "brainmvp_training": ("pretrain", "finetune"),
    "brainmvp_training/cli/synthesize.py": ("synthesize",),
    "brainmvp_training/mixing.py": ("finetune",),
    "brainmvp_training/finetuning.py": ("finetune",),
    "brainmvp_training/pretrain.py": ("pretrain",),
    "brainmvp_training/synthetic": ("synthesize",),
    "brainmvp_server": ("serve", "export", "build-engines"),
    "brainmvp_server/commands/compare.py": ("compare",),
    "brainmvp_server/commands/prepare.py": ("prepare",),
}


def remedies() -> Iterator[tuple[str, str]]:
    """The place and the constant words of every remedy in the source."""
    for package in PACKAGES:
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            place = path.relative_to(root.parent).as_posix()
            source = path.read_text("utf-8")
            if "remedy=" not in source:
                continue
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.keyword) and node.arg == "remedy":
                    yield place, "".join(_words(node.value))


def _words(node: ast.AST) -> list[str]:
    return [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def options(command: str) -> frozenset[str]:
    """Every way to write an option of a command."""
    found: TyperCommand = load(command)
    return frozenset(
        word for parameter in found.params for word in (*parameter.opts, *parameter.secondary_opts)
    )


def readers(place: str) -> tuple[str, ...]:
    """The commands that can show a remedy of this part of the source."""
    prefix = max((p for p in READERS if place.startswith(p)), key=len, default="")
    return READERS.get(prefix, tuple(entry.name for entry in listed()))


ADVISED = sorted(
    {(place, flag) for place, text in remedies() for flag in _FLAG.findall(_PIP.sub("", text))}
)


@pytest.mark.parametrize(("place", "flag"), ADVISED)
def test_an_option_that_a_message_names_is_one_of_the_command_that_shows_it(
    place: str, flag: str
) -> None:
    commands = readers(place)
    assert any(flag in options(command) for command in commands), (flag, commands)


# Why a way to send a study has no such choice.
NO_DICOM_HERE = frozenset({"assign", "b_value", "seg", "seg_frames", "overlay"})
"""A study named by modality, file by file, on the command line: its series are told apart."""
WAYS = {
    "predict": NO_DICOM_HERE,
    "score": frozenset[str](),
    "dicom-listen": frozenset[str](),
}


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """The query parameters of a prediction."""
    app: FastAPI = create_app(Settings.of(models=tmp_path_factory.mktemp("models")))
    call = app.openapi()["paths"]["/v1/models/{name}/predict"]["post"]
    return frozenset(p["name"] for p in call["parameters"] if p["in"] == "query")


@pytest.mark.parametrize("command", WAYS)
def test_a_command_that_sends_studies_has_every_choice_of_the_server(
    command: str, choices: frozenset[str]
) -> None:
    wanted = {f"--{name.replace('_', '-')}" for name in choices - WAYS[command]}
    assert wanted - options(command) == set()


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("verb", ["results", "submit"])
def test_a_client_has_every_choice_of_the_server(
    client: type, verb: str, choices: frozenset[str]
) -> None:
    arguments = set(inspect.signature(getattr(client, verb)).parameters)
    assert choices - arguments - {field.name for field in fields(DicomOptions)} == set()


def test_a_prediction_without_a_server_has_every_choice_but_dicoms(
    choices: frozenset[str],
) -> None:
    arguments = set(inspect.signature(local.predict).parameters)
    assert choices - arguments - NO_DICOM_HERE - {"version"} == set()


def test_a_remedy_names_its_rest_parameters_as_the_commands_do() -> None:
    """ "ask for it with resample" must be an option that a reader of a terminal finds, too."""
    named = [text for place, text in remedies() if re.search(r"with resample\b", text)]
    assert named
    assert "--resample" in options("predict") & options("score") & options("dicom-listen")


def test_every_setting_that_a_remedy_may_name_is_a_flag_of_serve() -> None:
    assert {entry.flag for entry in entries()} <= options("serve")
