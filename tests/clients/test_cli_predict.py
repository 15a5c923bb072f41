"""``brainmvp predict``: what is sent, printed and left on disk, when it works and when not."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Brainmvp = Callable[..., tuple[int, str, str]]


OPEN = {
    "output": "ET", "title": "enhancing tumour", "reason": "it needs t1c, which the study lacks",
    "missing": ["t1c"], "given": False,
}  # fmt: skip


def _shown(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_prediction_on_a_server_writes_results_and_shows_a_table(
    brainmvp: Brainmvp, peer: Any, study: dict[str, Path], tmp_path: Path
) -> None:
    peer.serves_results()
    code, out, err = brainmvp(
        "predict", "tumour", "--t1", study["t1"], "--flair", study["flair"],
        "--server", peer.url, "--version", "2", "--fill", "zeros", "--probabilities",
        "--resample", "--form", "qform", "--prepare", "none", "--space", "t1",
        "--brain", study["flair"], "--out", tmp_path / "r",
    )  # fmt: skip
    assert (code, err) == (0, "")
    shown = _shown(out)
    for text in (
        "Tumour core",
        "12.35",
        "12345",
        "flair (center)",
        "infer 2.5",
        "small",
        "Demo",
        "Largest parts",
        "core 2",
        "31.4 x 22.7",
        "35.1",
        "left",
        "4.2",
    ):
        assert text in shown
    assert peer.requests[0].query == {
        "version": ["2"], "fill": ["zeros"], "probabilities": ["true"], "resample": ["true"],
        "form": ["qform"], "prepare": ["none"], "space": ["t1"],
    }  # fmt: skip
    assert list(peer.requests[0].parts()) == ["flair", "t1", "brain"]
    assert (tmp_path / "r" / "mask.nii.gz").exists()


def test_json_prints_the_summary_and_nothing_else(
    brainmvp: Brainmvp, peer: Any, study: dict[str, Path], tmp_path: Path, summary: Any
) -> None:
    peer.serves_results()
    code, out, err = brainmvp(
        "predict", "t", "--t1", study["t1"], "--server", peer.url, "--out", tmp_path / "r", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(out) == summary


def test_quiet_prints_nothing(
    brainmvp: Brainmvp, peer: Any, study: dict[str, Path], tmp_path: Path
) -> None:
    peer.serves_results()
    arguments = ("predict", "t", "--t1", study["t1"], "--server", peer.url, "--quiet", "--out")
    assert brainmvp(*arguments, tmp_path / "r") == (0, "", "")
    code, _, err = brainmvp(*arguments, tmp_path / "r")
    assert code == 2
    assert "exists and is not empty" in err
    assert brainmvp(*arguments, tmp_path / "r", "--overwrite") == (0, "", "")


def test_refusal_names_the_users_file(
    brainmvp: Brainmvp, peer: Any, reply: Any, study: dict[str, Path], tmp_path: Path
) -> None:
    body = {"status": 422, "detail": "has four dimensions", "remedy": "Give one", "part": "t1"}
    problem = reply(422, "application/problem+json", json.dumps(body).encode())
    peer.says("application/zip", problem)
    code, out, err = brainmvp(
        "predict", "t", "--t1", study["t1"], "--server", peer.url, "--out", tmp_path / "o" / "r"
    )
    line = f"brainmvp: t1 ({study['t1']}): has four dimensions. Give one.\n"
    assert (code, out, err) == (2, "", line)
    assert list((tmp_path / "o").iterdir()) == []


def test_unreachable_server_is_one_line(brainmvp: Brainmvp, nowhere: str) -> None:
    code, out, err = brainmvp("models", "--server", nowhere)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"brainmvp: {nowhere}: cannot be reached")


def test_local_prediction_gets_what_was_asked_and_its_results_move_into_place(
    brainmvp: Brainmvp, plugins: dict[str, str], study: dict[str, Path], tmp_path: Path
) -> None:
    code, out, err = brainmvp(
        "predict", "bundles/tumour", "--t1", study["t1"], "--version", "2", "--fill", "none",
        "--engine", "onnxruntime", "--probabilities", "--resample", "--json",
        "--cpu-precision", "fp32", "--brain", study["flair"], "--profile", "speed",
        "--out", tmp_path / "o" / "r",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert json.loads(out)["warnings"] == [
        f"bundles/tumour/2 none True None auto None {study['flair']} True onnxruntime fp32 False "
        "speed ['t1']"
    ]
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["r"]
    assert (tmp_path / "o" / "r" / "mask.nii.gz").read_bytes() == b"mask"


@pytest.mark.parametrize(
    ("mode", "code", "line"),
    [
        ("refuses", 2, "brainmvp: t1 ({t1}): is no volume. Give a volume.\n"),
        (
            "breaks",
            70,
            "brainmvp: internal error (RuntimeError); run with BRAINMVP_DEBUG=1 to see the trace\n",
        ),
        (
            "lacks",
            2,
            "brainmvp predict without --server needs the 'server' extra: "
            "pip install 'brainmvp[server,cpu]' (there is no surely_not_installed)\n",
        ),
        ("interrupted", 130, ""),
    ],
)
def test_local_failure_is_one_line_and_leaves_nothing(
    brainmvp: Brainmvp,
    plugins: dict[str, str],
    study: dict[str, Path],
    tmp_path: Path,
    mode: str,
    code: int,
    line: str,
) -> None:
    outcome = brainmvp("predict", mode, "--t1", study["t1"], "--out", tmp_path / "o" / "r")
    assert outcome == (code, "", line.format(t1=study["t1"]))
    assert list((tmp_path / "o").iterdir()) == []


def test_debug_shows_the_trace(
    brainmvp: Brainmvp,
    plugins: dict[str, str],
    study: dict[str, Path],
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.setenv("BRAINMVP_DEBUG", "1")
    code, _, err = brainmvp("predict", "breaks", "--t1", study["t1"], "--out", tmp_path / "r")
    assert code == 70
    assert "secret detail" in err
    assert err.endswith("brainmvp: internal error (RuntimeError)\n")


def test_ctrl_c_ends_the_process_with_130_and_leaves_nothing(
    plugins: dict[str, str], study: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "o" / "r"
    out.parent.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "brainmvp_clients.cli", "predict", "hangs", "--t1", study["t1"],
         "--out", out],
        cwd=tmp_path, env=plugins, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        marker = out.parent / "hanging"
        for _ in range(3600):
            if marker.exists() or process.poll() is not None:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=120)
    assert (process.returncode, printed, errors) == (130, "", "")
    assert [path.name for path in out.parent.iterdir()] == ["hanging"]


def test_terminal_without_unicode_gets_a_table_all_the_same(
    plugins: dict[str, str], study: dict[str, Path], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "brainmvp_clients.cli", "predict", "fine", "--t1", study["t1"],
         "--out", tmp_path / "r"],
        cwd=tmp_path, env={**plugins, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "Tumour core" in done.stdout


def test_scores_are_ranked(
    brainmvp: Brainmvp, peer: Any, study: dict[str, Path], tmp_path: Path, summary: Any
) -> None:
    summary |= {"kind": "classification", "structures": [], "demo": False}
    summary["scores"] = [{"name": "low", "score": 0.125}, {"name": "high", "score": 0.875}]
    peer.serves_results({"summary.json": json.dumps(summary).encode()})
    code, out, _ = brainmvp(
        "predict", "t", "--t1", study["t1"], "--server", peer.url, "--out", tmp_path / "r"
    )
    assert code == 0
    assert re.search(r"high.*0\.875.*low.*0\.125", _shown(out), re.DOTALL)
    assert "Demo" not in out


@pytest.mark.parametrize("where", ["server", "here"])
def test_progress_is_drawn_on_a_terminal_and_keeps_out_of_stdout(
    plugins: dict[str, str], peer: Any, study: dict[str, Path], tmp_path: Path, where: str
) -> None:
    peer.serves_results()
    place = ["--server", peer.url] if where == "server" else []
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "brainmvp_clients.cli", "predict", "m", "--t1", study["t1"],
         "--out", tmp_path / "r", *place],
        cwd=tmp_path, env={**plugins, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs,
        text=True,
    )  # fmt: skip
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    assert ("waiting for the server" if where == "server" else "windows") in drawn
    assert "waiting" not in done.stdout
    assert "Tumour core" in done.stdout


def test_an_output_that_cannot_be_told_is_said_and_ends_with_a_code_of_its_own(
    brainmvp: Brainmvp,
    peer: Any,
    mask: bytes,
    summary: dict[str, Any],
    study: dict[str, Path],
    tmp_path: Path,
) -> None:
    sentence = f"{OPEN['title']} is not determinable: {OPEN['reason']}"
    summary |= {"not_determinable": [OPEN], "warnings": [sentence, "something else"]}
    peer.serves_results({"mask.nii.gz": mask, "summary.json": json.dumps(summary).encode()})
    arguments = ["predict", "tumour", "--t1", study["t1"], "--server", peer.url]
    code, out, err = brainmvp(*arguments, "--out", tmp_path / "a")
    assert (code, err) == (3, "")
    assert "Not determinable: enhancing tumour: it needs t1c" in out and "missing: t1c" in out
    assert "something else" in out and out.count("needs t1c") == 1
    assert (tmp_path / "a" / "summary.json").exists()
    for flag in ("--json", "--quiet"):
        code, _, _ = brainmvp(*arguments, "--out", tmp_path / flag, flag)
        assert code == 3
    assert "not_determinable" not in peer.requests[-1].query
    code, _, _ = brainmvp(
        *arguments, "--out", tmp_path / "b", "--not-determinable", "--profile", "speed"
    )
    asked = peer.requests[-1].query
    assert code == 3 and (asked["not_determinable"], asked["profile"]) == (["true"], ["speed"])


def test_a_figure_is_shown_with_whom_it_is_of(
    brainmvp: Brainmvp,
    peer: Any,
    mask: bytes,
    summary: dict[str, Any],
    study: dict[str, Path],
    tmp_path: Path,
) -> None:
    population = {
        "kind": "synthetic", "description": "four heads", "anatomy": "synthetic",
        "preparation": "2 mm", "field_of_use": "tests",
    }  # fmt: skip
    summary["expected_quality"][0] |= {
        "measured_on": "40 synthetic studies", "population": population,
    }  # fmt: skip
    peer.serves_results({"mask.nii.gz": mask, "summary.json": json.dumps(summary).encode()})
    code, out, _ = brainmvp(
        "predict", "tumour", "--t1", study["t1"], "--server", peer.url, "--out", tmp_path / "a"
    )
    assert code == 0
    assert "core dice 0.830, measured on 40 synthetic studies" in out
    assert "four heads; synthetic anatomy; prepared: 2 mm; field of use: tests" in out
