"""The command: what it lists and loads, bad usage, and ``brainmvp models``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Brainmvp = Callable[..., tuple[int, str, str]]


def _shown(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_help_lists_every_command_although_extras_are_missing(brainmvp: Brainmvp) -> None:
    code, out, err = brainmvp("--help")
    assert (code, err) == (0, "")
    assert [name for name in ("predict", "models", "serve", "export") if name in out] == [
        "predict",
        "models",
        "serve",
        "export",
    ]


def test_listing_imports_no_command(brainmvp: Brainmvp, plugins: dict[str, str]) -> None:
    code, out, _ = brainmvp("--help")
    assert code == 0
    assert "late" in out
    assert "brainmvp_testing_plugin" not in sys.modules


def test_no_command_shows_the_help_and_is_bad_usage(brainmvp: Brainmvp) -> None:
    code, out, _ = brainmvp()
    assert code == 2
    assert "predict" in out


def test_version_is_one_line(brainmvp: Brainmvp) -> None:
    code, out, err = brainmvp("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"brainmvp \S+\n", out)


def test_command_of_another_package_runs(brainmvp: Brainmvp, plugins: dict[str, str]) -> None:
    assert brainmvp("serve", "--port", 9) == (0, "serving on 9\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["export", "x"],
            "brainmvp export needs the 'export' extra: pip install 'brainmvp[export]' "
            "(there is no surely_not_installed)\n",
        ),
        (["late"], "brainmvp late: cannot start (there is no surely_not_installed). "
                   "Install what it needs.\n"),
    ],
)  # fmt: skip
def test_missing_package_names_the_extra(
    brainmvp: Brainmvp, plugins: dict[str, str], arguments: list[str], line: str
) -> None:
    assert brainmvp(*arguments) == (2, "", line)


def test_command_that_is_not_installed_names_the_extra(
    brainmvp: Brainmvp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    code, out, err = brainmvp("serve", "--models", "x")
    assert (code, out) == (2, "")
    start = "brainmvp serve needs the 'server' extra: pip install 'brainmvp[server,cpu]'"
    assert err.startswith(start)
    assert err.count("\n") == 1


def test_local_prediction_without_its_extra_says_so_and_leaves_nothing(
    brainmvp: Brainmvp, monkeypatch: pytest.MonkeyPatch, study: dict[str, Path], tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    code, _, err = brainmvp("predict", "b", "--t1", study["t1"], "--out", tmp_path / "o" / "r")
    assert code == 2
    assert "pip install 'brainmvp[server,cpu]'" in err
    assert "without --server" in err
    assert list((tmp_path / "o").glob("*")) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predict", "m", "--t1", "a", "--t1", "b", "--out", "o"], "--t1: is given 2 times"),
        (["predict", "m", "--out", "o"], "study: no volume is given"),
        (["predict", "m", "--t1", "a"], "Missing option '--out'"),
        (["predict", "m", "--t9", "a"], "No such option: --t9"),
        (["predict", "m", "--t1", "no.nii", "--out", "o"], "t1 (no.nii): there is no such file"),
        (
            ["predict", "m", "--t1", "a", "--out", "o", "--server", "http://h", "--engine", "x"],
            "--engine: has no effect with --server",
        ),
        (
            ["predict", "m", "--t1", "a", "--out", "o", "--server", "h", "--cpu-precision", "bf16"],
            "--cpu-precision: has no effect with --server",
        ),
        (["predict", "m", "--t1", "a", "--out", "o", "--server", "h:1"], "h:1: is not a server's"),
        (["models", "--server", "http://h", "--models", "d"], "--server and --models: cannot go"),
        (["predcit"], "No such command 'predcit'"),
    ],
)
def test_bad_usage_is_one_line_and_2(
    brainmvp: Brainmvp, arguments: list[str], line: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = brainmvp(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"brainmvp: {line}")
    assert err.count("\n") == 1
    assert list(tmp_path.glob("*o*")) == []


def test_models_of_a_server(brainmvp: Brainmvp, peer: Any, reply: Any, model: Any) -> None:
    peer.says("/v1/models", reply(body=json.dumps({"models": [model]}).encode()))
    code, out, err = brainmvp("models", "--server", peer.url)
    assert (code, err) == (0, "")
    shown = _shown(out)
    assert all(text in shown for text in ("tumour (demo)", "1, 2", "t1*, flair", "center", "core"))
    code, out, err = brainmvp("models", "--server", peer.url, "--json")
    assert json.loads(out)["models"][0]["versions"] == ["1", "2"]


def test_models_of_a_folder_show_what_is_refused(
    brainmvp: Brainmvp, plugins: dict[str, str], tmp_path: Path
) -> None:
    code, out, err = brainmvp("models", "--models", tmp_path)
    assert (code, err) == (0, "")
    assert "old/1: lacks model.onnx. Copy it again." in _shown(out)
    _, out, _ = brainmvp("models", "--models", tmp_path, "--json")
    assert set(json.loads(out)) == {"models", "refused"}


def test_what_a_server_writes_cannot_command_the_terminal(
    brainmvp: Brainmvp, peer: Any, reply: Any, model: Any
) -> None:
    model |= {"name": "\x1b]0;owned\x07[red]x"}
    peer.says("/v1/models", reply(body=json.dumps({"models": [model]}).encode()))
    _, out, _ = brainmvp("models", "--server", peer.url)
    assert "\x1b" not in _shown(out)
    assert "\x07" not in out
    assert "[red]x" in _shown(out)
