"""API keys: what is kept of them, who they let in, and that they come and go while serving."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.api.caller import Caller, OwnLimits, Scope
from brainmvp_server.api.security.keys import KeyFile, KeyRing, new_key
from brainmvp_server.commands.keys import limited

PREDICT = (Scope.PREDICT,)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def kept(path: Path, *names: str) -> list[str]:
    """Write a file of new keys with these names; the keys themselves."""
    pairs = [new_key(name, PREDICT) for name in names]
    KeyFile(keys=tuple(record for _, record in pairs)).write(path)
    return [key for key, _ in pairs]


def test_a_key_lets_its_holder_in_and_nothing_near_it_does(path: Path) -> None:
    key, other = kept(path, "pacs", "page")
    ring = KeyRing(path)
    assert ring.caller(key) == Caller("pacs", frozenset(PREDICT), "key:pacs")
    head, number, secret = key.split("_", 2)
    for wrong in (
        key[:-1],
        key + "x",
        key.lower() if key != key.lower() else key.upper(),
        f"{head}_{number}_",
        f"{head}_{number}",
        f"{head}_{other.split('_')[1]}_{secret}",
        f"{head}_000000000000_{secret}",
        head,
        "",
    ):
        assert ring.caller(wrong) is None, wrong


@given(text=st.text())
def test_no_text_is_a_key_or_an_error(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "some-keys.json"
    if not path.exists():
        kept(path, "pacs")
    assert KeyRing(path).caller(f"bmvp_{text}") is None


def test_the_file_holds_no_secret_and_is_its_owners_alone(path: Path) -> None:
    (key,) = kept(path, "pacs")
    assert key.split("_", 2)[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_two_keys_of_one_secret_would_differ_in_their_hash(path: Path) -> None:
    kept(path, "a", "b")
    first, second = KeyFile.read(path).keys
    assert first.salt != second.salt and first.digest != second.digest


def test_an_expired_key_is_refused_and_one_that_has_not_is_not(path: Path) -> None:
    key, record = new_key("pacs", PREDICT, timedelta(hours=1))
    KeyFile(keys=(record,)).write(path)
    assert KeyRing(path).caller(key) is not None
    past = datetime.now(timezone.utc) - timedelta(seconds=1)
    KeyFile(keys=(record.model_copy(update={"expires": past}),)).write(path)
    assert KeyRing(path).caller(key) is None


def test_keys_come_and_go_without_a_restart(path: Path) -> None:
    (old,) = kept(path, "old")
    ring = KeyRing(path)
    (new,) = kept(path, "new")
    assert ring.caller(old) is None
    assert ring.caller(new) is not None


@pytest.mark.parametrize("broken", [b"{", b"", b'{"keys": [{"name": "x"}]}', None])
def test_a_broken_file_changes_nothing_while_serving_and_is_refused_at_start(
    path: Path, broken: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    (key,) = kept(path, "pacs")
    ring = KeyRing(path)
    path.unlink() if broken is None else path.write_bytes(broken)
    assert ring.caller(key) is not None
    assert "kept as they were" in caplog.text
    with pytest.raises(InvalidSettings, match="brainmvp keys new"):
        KeyRing(path)


def test_names_are_unique_plain_words_and_a_key_has_a_scope(path: Path) -> None:
    with pytest.raises(ValidationError, match="same name"):
        kept(path, "pacs", "pacs")
    for name in ("", "../x", "a b", "a\n", "x" * 65, "-a"):
        with pytest.raises(ValidationError):
            new_key(name, PREDICT)
    with pytest.raises(ValidationError):
        new_key("x", ())


def test_a_change_under_way_is_not_overwritten(path: Path) -> None:
    aside = path.with_name(".keys.json.new")
    aside.touch()
    with pytest.raises(InvalidSettings, match="somebody else"):
        kept(path, "pacs")
    assert aside.exists()


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brainmvp_clients.cli", "keys", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        env={name: value for name, value in os.environ.items() if name != "BRAINMVP_KEYS_FILE"},
    )


def test_the_command_makes_lists_and_revokes_keys(path: Path) -> None:
    made = command("new", "pacs", "--scope", "predict", "--scope", "jobs", "--days", 30,
                   "--keys-file", path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    caller = KeyRing(path).caller(key)
    assert caller == Caller("pacs", frozenset({Scope.PREDICT, Scope.JOBS}), "key:pacs")
    listed = command("list", "--json", "--keys-file", path)
    (entry,) = json.loads(listed.stdout)
    assert entry["name"] == "pacs" and entry["scopes"] == ["predict", "jobs"]
    assert "digest" not in entry and "salt" not in entry
    assert command("revoke", "pacs", "--keys-file", path).returncode == 0
    assert KeyRing(path).caller(key) is None


def test_a_key_s_quotas_are_made_shown_changed_and_taken_back(path: Path) -> None:
    made = command("new", "pacs", "--studies-per-hour", 20, "--keys-file", path)
    assert made.returncode == 0, made.stderr
    ring = KeyRing(path)

    def limits() -> OwnLimits:
        caller = ring.caller(made.stdout.strip())
        assert caller is not None
        return caller.limits

    assert limits() == OwnLimits(20, None)
    done = command("limit", "pacs", "--studies-per-hour", 0, "--mb-per-day", 512,
                   "--keys-file", path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert limits() == OwnLimits(0, 512)
    shown = command("list", "--keys-file", path).stdout
    assert "any number of studies an hour  512 MiB a day" in shown
    KeyFile.change(path, lambda file: limited(file, "pacs", OwnLimits()))
    assert limits() == OwnLimits()
    assert "per_" not in path.read_text()  # a release before this one reads the file too


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["new"], "which key?"),
        (["limit", "nobody"], "no key of that name"),
        (["new", "a b"], "Choose another name"),
        (["revoke", "nobody"], "no key of that name"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    path: Path, arguments: list[str], reason: str
) -> None:
    kept(path, "pacs")
    done = command(*arguments, "--keys-file", path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and reason in done.stderr
    assert [key.name for key in KeyFile.read(path).keys] == ["pacs"]


def test_a_key_that_was_revoked_meanwhile_does_not_come_back(path: Path) -> None:
    """Another process may change the file between this one's reading and its writing."""
    (key,) = kept(path, "leaked")
    _, record = new_key("fresh", PREDICT)

    def add(file: KeyFile) -> KeyFile:
        revoking = subprocess.Popen(
            [sys.executable, "-m", "brainmvp_clients.cli", "keys", "revoke", "leaked",
             "--keys-file", str(path)],
        )  # fmt: skip
        others.append(revoking)
        with pytest.raises(subprocess.TimeoutExpired):
            revoking.wait(timeout=4)  # it waits for its turn; unlocked, it would be done
        return KeyFile(keys=(*file.keys, record))

    others: list[subprocess.Popen[bytes]] = []
    KeyFile.change(path, add)
    assert others[0].wait(timeout=120) == 0
    assert KeyRing(path).caller(key) is None
    assert [record.name for record in KeyFile.read(path).keys] == ["fresh"]


def test_many_who_change_the_keys_at_once_all_succeed(path: Path) -> None:
    kept(path, "first")

    def add(number: int) -> None:
        _, record = new_key(f"key-{number}", PREDICT)
        KeyFile.change(path, lambda file: KeyFile(keys=(*file.keys, record)))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(add, range(64)))
    names = {record.name for record in KeyFile.read(path).keys}
    assert names == {"first", *(f"key-{number}" for number in range(64))}
