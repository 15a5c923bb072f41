"""What scripts and files of earlier versions name is still there, and means the same."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from brainmvp_clients import Client, Refused
from command_line import brainmvp
from kept_fixtures import MODEL
from public_surface import HIDDEN, Values, commands, error_codes, settings_in_force
from serving import serving

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ERRORS = Path(__file__).parents[2] / "docs" / "errors.md"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def settings_of(past: Path) -> Values:
    values: Values = tomllib.loads((past / "settings.toml").read_text())
    return values


def shown(values: Values) -> Values:
    """The settings as they are printed: no secret is."""
    secrets = ("jobs_database", "tls_key_password")
    return {
        group: {name: HIDDEN if name in secrets else value for name, value in settings.items()}
        for group, settings in values.items()
    }


def differences(then: Values, now: Values) -> dict[str, Any]:
    """The settings of then that are others now, with both values."""
    return {
        f"{group}.{name}": (value, now.get(group, {}).get(name))
        for group, settings in then.items()
        for name, value in settings.items()
        if now.get(group, {}).get(name) != value
    }


def as_word(value: Any) -> str:
    """A value as a variable or a flag holds it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)


def test_a_settings_file_of_an_earlier_version_is_read_with_the_same_values(past: Path) -> None:
    values, origins = settings_in_force("--config", past / "settings.toml")
    then = settings_of(past)
    assert differences(shown(then), values) == {}
    assert [n for s in then.values() for n in s if origins[n] == "default"] == []


def test_the_variables_of_an_earlier_version_still_set_what_they_did(
    past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = settings_of(past)
    names = {f"BRAINMVP_{name.upper()}": name for settings in then.values() for name in settings}
    for settings in then.values():
        for name, value in settings.items():
            monkeypatch.setenv(f"BRAINMVP_{name.upper()}", as_word(value))
    values, origins = settings_in_force()
    assert differences(shown(then), values) == {}
    assert {origins[name]: name for name in names.values()} == names


def test_the_flags_of_an_earlier_version_still_set_what_they_did(
    past: Path, tmp_path: Path
) -> None:
    words: list[object] = []
    then = settings_of(past)
    for settings in then.values():
        for name, value in settings.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif f"--{flag}-file" in read(past / "command-line.json")["serve"]:
                (tmp_path / name).write_text(str(value))
                words += [f"--{flag}-file", tmp_path / name]
            else:
                words += [f"--{flag}", as_word(value)]
    values, _ = settings_in_force(*words)
    assert differences(shown(then), values) == {}


def test_no_command_or_flag_vanishes_and_none_is_newly_needed(past: Path) -> None:
    then, now = read(past / "command-line.json"), commands()
    assert then.keys() <= now.keys()
    gone = {f"{c} {name}" for c, names in then.items() for name in names if name not in now[c]}
    assert gone == set()
    needed = {
        f"{command} {name}"
        for command, names in then.items()
        for name, must in now[command].items()
        if must and not names.get(name)
    }
    assert needed == set()


def test_no_error_code_vanishes_or_changes_its_status(past: Path) -> None:
    then, now = read(past / "errors.json"), error_codes(ERRORS.read_text())
    assert {code: now.get(code) for code in then} == then


def test_a_key_of_an_earlier_version_still_opens_the_service(past: Path, tmp_path: Path) -> None:
    shutil.copytree(past / "models", tmp_path / "models")
    shutil.copy(past / "keys.json", tmp_path / "keys.json")
    key = (past / "key.txt").read_text().strip()
    wrong = key[:-1] + ("y" if key.endswith("x") else "x")
    listed = json.loads(
        brainmvp("keys", "list", "--keys-file", tmp_path / "keys.json", "--json").stdout
    )
    assert [(one["name"], set(one["scopes"])) for one in listed] == [
        ("reading-room", {"predict", "admin"})
    ]
    words = ("--keys-file", tmp_path / "keys.json", "--no-warm-up")
    with serving(tmp_path / "models", tmp_path, *words) as url:
        codes = [
            httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {word}"}).status_code
            for word in (key, wrong)
        ]
    assert codes == [200, 401]


def answering(past: Path, name: str, status: int = 200) -> Client:
    """A client whose server gives one answer of an earlier version, whatever it is asked."""
    kind = "application/json" if status == 200 else "application/problem+json"
    content = (past / "api" / f"{name}.json").read_bytes()
    transport = httpx.MockTransport(
        lambda _: httpx.Response(status, content=content, headers={"content-type": kind})
    )
    return Client("http://127.0.0.1:1", transport=transport)


def test_the_client_understands_what_an_earlier_server_answers(past: Path) -> None:
    study = {"t1": past / "studies" / "a" / "t1.nii.gz"}
    then = {path.stem: read(path) for path in (past / "api").glob("*.json")}
    with answering(past, "models") as client:
        assert [model.name for model in client.models()] == [MODEL]
    with answering(past, "model") as client:
        model = client.model(MODEL)
        assert [c.modality for c in model.channels] == [
            c["modality"] for c in then["model"]["channels"]
        ]
    with answering(past, "summary") as client:
        summary = client.predict(MODEL, study)
        assert [s.volume_ml for s in summary.structures] == [
            s["volume_ml"] for s in then["summary"]["structures"]
        ]
        assert [f.modality for f in summary.filled] == ["t1c", "t2", "flair"]
    with answering(past, "identify") as client:
        assert [one.modality for one in client.identify(study).volumes] == ["t1"]
    with answering(past, "jobs") as client:
        assert [job.state for job in client.jobs()] == ["failed", "done"]
    with answering(past, "job-done") as client:
        assert list(client.job("one").results) == then["job-done"]["results"]
    with answering(past, "job-failed") as client:
        failed = client.job("one")
        assert failed.error is not None and failed.error.code == "invalid-volume"
    with answering(past, "problem", 422) as client, pytest.raises(Refused) as refused:
        client.predict(MODEL, study)
    problem = then["problem"]
    assert refused.value.details.model_dump(exclude_none=True).items() <= problem.items()
