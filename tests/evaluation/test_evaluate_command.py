"""``brainmvp evaluate`` as a user calls it, in a process of its own where that may matter."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brainmvp_models.bundle import Bundle
from command_line import brainmvp
from limited_bundle import PEOPLE

COMMAND = [sys.executable, "-m", "brainmvp_clients.cli", "evaluate"]


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )


def test_a_segmentation_gets_its_report_its_plots_and_its_card(
    small_bundle: Bundle, datalist: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(small_bundle.root, models / "small" / "1")
    out = tmp_path / "out"
    done = _run(models / "small", datalist, "--out", out, "--subsets", "t1,t1c,t2,flair;flair",
                "--fill", "zeros", "--write-card")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "does not record whom it was measured on" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout.splitlines()[-1].startswith(f"wrote {out} and the")
    plots = {"dice_by_subset.png", "volumes.png", "reliability.png"}
    names = {"rows.jsonl", "evaluation.json", "report.md"}
    assert {path.name for path in out.iterdir()} == names | plots
    for name in plots:
        assert (out / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    found = json.loads((out / "evaluation.json").read_text())
    assert found["command"].startswith("brainmvp evaluate small list.json --out out --subsets")
    assert len(found["rows"]) == 4 and found["bundle"] == small_bundle.digest
    assert all("counts" not in output for row in found["rows"] for output in row["outputs"])
    text = "".join((out / name).read_text() for name in ("report.md", "evaluation.json"))
    assert "patient" not in text and str(tmp_path) not in text
    assert re.search(
        r"^\| t1, t1c, t2, flair \| – \| 2 \|.* 1\.000 \[1\.000, 1\.000\] \|$", text, re.M
    )
    manifest = Bundle.open(models / "small").manifest
    assert manifest.evaluated is not None and manifest.evaluated.command == found["command"]
    assert len(manifest.subset_card) == 18


def test_the_population_of_a_list_goes_into_the_card_and_one_that_is_given_before_it(
    grading_bundle: Bundle, graded: Path, tmp_path: Path
) -> None:
    models, whom = tmp_path / "models", PEOPLE.model_dump()
    shutil.copytree(grading_bundle.root, models / "grade" / "1")
    said = graded.parent / "said.json"
    content = json.loads(graded.read_text())
    said.write_text(json.dumps({**content, "populations": {"test": whom}}))
    file = tmp_path / "whom.yaml"
    file.write_text(json.dumps({**whom, "kind": "volunteer"}))
    kinds = []
    for options in ((), ("--population", file)):
        done = brainmvp(
            "evaluate", models / "grade", said, "--out", tmp_path / "out", "--write-card", *options
        )
        assert (done.returncode, done.stderr) == (0, "")
        evaluated = Bundle.open(models / "grade").manifest.evaluated
        assert evaluated is not None and evaluated.population is not None
        kinds.append(evaluated.population.kind)
    assert kinds == ["patient", "volunteer"]
    assert PEOPLE.description in (tmp_path / "out" / "report.md").read_text()
    file.write_text("kind: people")
    done = brainmvp(
        "evaluate", models / "grade", said, "--out", tmp_path / "out", "--population", file
    )
    assert done.returncode == 2 and "kind: Input" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_classification_is_printed_as_json_for_scripts(
    grading_bundle: Bundle, graded: Path, tmp_path: Path
) -> None:
    done = brainmvp(
        "evaluate", grading_bundle.root, graded, "--out", tmp_path / "out", "--json", "--names"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "classification" and found["outputs"] == ["LGG", "HGG"]
    assert [entry["name"] for entry in found["names"]] == ["p1", "p2"]
    assert {"auc_by_subset.png", "roc.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == found


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_evaluation_goes_on_and_gives_what_an_undisturbed_one_gives(
    small_bundle: Bundle, datalist: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [
        small_bundle.root,
        datalist,
        "--out",
        out,
        "--subsets",
        "all",
        "--fill",
        "zeros",
        "--limit",
        1,
    ]
    with subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while _lines(out / "rows.jsonl") < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    kept = _lines(out / "rows.jsonl")
    assert 4 <= kept <= 16
    assert kept == 16 or not (out / "evaluation.json").exists()
    first = (out / "rows.jsonl").read_bytes().splitlines()[:kept]
    resumed = _run(*arguments, "--json")
    assert resumed.returncode == 0, resumed.stderr
    lines = (out / "rows.jsonl").read_bytes().splitlines()
    assert lines[:kept] == first and len(lines) == 16
    arguments[3] = tmp_path / "undisturbed"
    undisturbed = brainmvp("evaluate", *arguments, "--json")
    assert json.loads(resumed.stdout)["figures"] == json.loads(undisturbed.stdout)["figures"]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--section", "training"], "no section 'training'"),
        (["--subsets", "t1,t9"], "'t9' is not a modality"),
        (["--fill", "magic"], "'magic' is no fill policy"),
        (["--templates", "nowhere"], "nowhere"),
        (["--templates", "nowhere", "--write-card"], "gets no card: other templates are used"),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(
    small_bundle: Bundle, datalist: Path, tmp_path: Path, options: list[str], problem: str
) -> None:
    done = brainmvp("evaluate", small_bundle.root, datalist, "--out", tmp_path / "out", *options)
    assert done.returncode == 2
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("brainmvp: ") and problem in done.stderr
    assert not (tmp_path / "out").exists()


def test_some_failures_are_exit_code_1_and_are_listed(
    small_bundle: Bundle, datalist: Path, tmp_path: Path
) -> None:
    done = brainmvp("evaluate", small_bundle.root, datalist, "--out", tmp_path / "out",
                    "--subsets", "missing-one", "--fill", "grid", "--limit", 1)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().startswith("brainmvp: 4 of 5 measurements failed")
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.count("the bundle has no template") == 4
