"""Flags, environment, file, defaults: who wins, what is refused, and that secrets stay secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.settings import Settings, entries, load
from brainmvp_server.settings.group import Group
from brainmvp_server.settings.shown import as_toml

FILE = """
[service]
models = "/from-file"
port = 1

[limits]
upload_mb = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "brainmvp.toml"
    path.write_text(FILE)
    return path


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(file: Path) -> None:
    environ = {"BRAINMVP_CONFIG": str(file), "BRAINMVP_PORT": "2", "BRAINMVP_UPLOAD_MB": "4"}
    effective = load({"port": "5", "host": None}, environ)
    settings = effective.settings
    assert settings.service.port == 5
    assert settings.limits.upload_mb == 4
    assert settings.service.models == Path("/from-file")
    assert settings.limits.upload_parts == Settings.of(models="x").limits.upload_parts
    origins = effective.origins
    assert origins["port"] == "--port"
    assert origins["upload_mb"] == "BRAINMVP_UPLOAD_MB"
    assert origins["models"] == f"{file} [service] models"
    assert origins["upload_parts"] == "default"


def test_the_file_of_the_flag_beats_the_file_of_the_variable(file: Path) -> None:
    environ = {"BRAINMVP_CONFIG": "/nowhere.toml"}
    assert load({}, environ, file).settings.service.port == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[service]\nmodel = 'x'", "there is no setting 'model'. Did you mean models?"),
        ("[servise]\nmodels = 'x'", "there is no setting 'servise'. Did you mean service?"),
        ("[limits]\nport = 3", "there is no setting 'port'"),
        ("models = 'x'", "there is no setting 'models'"),
        ("service = 3", "is no table"),
        ("[service]\nport = 'many'", "[service] port: Input should be a valid integer"),
        ("[service]\nport = 70000", "less than or equal to 65535"),
        ("[service", "not valid TOML"),
        ("\xff", "is not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_the_remedy(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSettings) as caught:
        load({"models": "x"} if "port" in text else {}, {}, path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_or_value_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load({}, {}, tmp_path / "nowhere.toml")
    with pytest.raises(InvalidSettings, match="--models, BRAINMVP_MODELS or models under"):
        load({}, {})
    with pytest.raises(InvalidSettings, match="--port: Input should be a valid integer"):
        load({"models": "x", "port": "no"}, {})


def test_a_misspelt_variable_is_refused_and_anothers_is_not(file: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"BRAINMVP_UPLAOD_MB.*BRAINMVP_UPLOAD_MB"):
        load({}, {"BRAINMVP_UPLAOD_MB": "3"}, file)
    load({}, {"BRAINMVP_DEBUG": "1", "BRAINMVP_DEMO_PYTHON": "x", "HOME": "/"}, file)


def test_a_kubernetes_service_called_brainmvp_does_not_break_the_port(file: Path) -> None:
    links = {
        "BRAINMVP_PORT": "tcp://10.0.0.1:8000",
        "BRAINMVP_SERVICE_HOST": "10.0.0.1",
        "BRAINMVP_SERVICE_PORT": "8000",
        "BRAINMVP_PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    assert load({}, links, file).settings.service.port == 1


def test_an_empty_variable_is_not_given(file: Path) -> None:
    assert load({}, {"BRAINMVP_ENGINE": ""}, file).settings.worker.engine is None


def test_every_setting_has_a_name_of_its_own_a_description_and_a_default_but_the_models() -> None:
    table = entries()
    names = [entry.name for entry in table]
    assert len(set(names)) == len(names)
    assert len({entry.flag for entry in table}) == len(table)
    for entry in table:
        assert entry.help.endswith("."), entry.name
    assert [entry.name for entry in table if entry.required] == ["models"]


def test_settings_cannot_be_changed() -> None:
    settings = Settings.of(models="x")
    for group in Settings.model_fields:
        assert isinstance(getattr(settings, group), Group)
    with pytest.raises(ValueError, match="frozen"):
        settings.service.port = 3  # type: ignore[misc]


@given(port=st.integers(0, 65535), megabytes=st.integers(1, 10**6), path=st.text(min_size=1))
def test_what_is_printed_is_a_file_that_sets_the_same(
    port: int, megabytes: int, path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if "\0" in path or "\x7f" in path or any(0xD800 <= ord(c) < 0xE000 for c in path):
        return
    first = load({"port": port, "upload_mb": megabytes, "models": path}, {})
    text = as_toml(first)
    tomllib.loads(text)
    copy = tmp_path_factory.getbasetemp() / "copy.toml"
    copy.write_text(text, encoding="utf-8", newline="")
    assert load({}, {}, copy).settings == first.settings


def _command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brainmvp_clients.cli", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


def test_the_command_prints_the_settings_in_force_and_where_they_come_from(file: Path) -> None:
    done = _command("--config", file, "--studies", 3, "--print-config")
    assert done.returncode == 0, done.stderr
    printed = tomllib.loads(done.stdout)
    assert printed["worker"]["studies"] == 3 and printed["service"]["models"] == "/from-file"
    assert "studies = 3  # --studies" in done.stdout
    assert f'models = "/from-file"  # {file} [service] models' in done.stdout


def test_a_bad_setting_is_one_line_and_exit_code_2(file: Path) -> None:
    file.write_text("[service]\nmodles = 'x'\n")
    done = _command("--config", file)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "Did you mean models?" in done.stderr
