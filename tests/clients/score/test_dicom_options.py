"""What a batch asks of the server about DICOM."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Score = Callable[..., tuple[int, str, str]]

ASKED = (
    "--resample", "--form", "qform",
    "--seg", "labelmap", "--seg-frames", "all", "--overlay", "--b-value", "800",
    "--assign", "5:t1c", "--assign", "4.2:none",
)  # fmt: skip


def _queries(peer: Any, path: str) -> list[dict[str, list[str]]]:
    return [request.query for request in peer.requests if request.path.endswith(path)]


def test_what_is_asked_for_reaches_the_server_and_nothing_else_does(
    score: Score, scoring: Any
) -> None:
    assert score("--quiet", "--limit", "1", "--fill", "zeros")[0] == 0
    assert score("--quiet", "--limit", "1", "--resume", *ASKED)[0] == 0
    plain, full = _queries(scoring, "/predict")
    assert plain == {"version": ["2"], "fill": ["zeros"]}
    assert full == {
        "version": ["2"],
        "resample": ["true"],
        "form": ["qform"],
        "seg": ["labelmap"],
        "seg_frames": ["all"],
        "overlay": ["true"],
        "b_value": ["800"],
        "assign": ["5:t1c", "4.2:none"],
    }


@pytest.mark.parametrize(
    "option",
    [
        ("--seg", "labelmap"),
        ("--seg-frames", "all"),
        ("--overlay",),
        ("--b-value", "2000"),
        ("--assign", "5:t1c"),
        ("--resample",),
        ("--form", "qform"),
    ],
    ids=lambda option: option[0],
)
def test_another_choice_is_another_run_and_the_same_one_is_not(
    score: Score, predicted: Callable[[], int], option: tuple[str, ...]
) -> None:
    score("--quiet", "--limit", "1")
    score("--quiet", "--limit", "1", "--resume", *option)
    assert predicted() == 2
    score("--quiet", "--limit", "1", "--resume", *option)
    assert predicted() == 2


def test_a_dry_run_identifies_as_the_run_would(
    score: Score, scoring: Any, reply: Any, cohort: Path
) -> None:
    found = {"volumes": [{"label": "5", "kind": "dicom", "modality": "t1", "used": True}]}
    scoring.says("/v1/studies/identify", reply(body=json.dumps(found).encode()))
    shutil.rmtree(cohort / "DOE^JANE_0")
    (cohort / "DOE^JANE_0").mkdir()
    (cohort / "DOE^JANE_0" / "1").write_bytes(bytes(128) + b"DICM")
    code, said, _ = score("--dry-run", "--json", *ASKED)
    assert code == 0
    assert json.loads(said.splitlines()[0])["uses"][0]["modality"] == "t1"
    assert _queries(scoring, "/identify") == [{"b_value": ["800"], "assign": ["5:t1c", "4.2:none"]}]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--assign", "t1c"),
        ("--assign", "1.2.840.113619.2.5:t1c"),
        ("--b-value", "0"),
        ("--b-value", "nan"),
        ("--seg", "mesh"),
        ("--seg-frames", "some"),
    ],
)
def test_what_cannot_be_meant_for_many_studies_is_refused_before_any_is_sent(
    score: Score, predicted: Callable[[], int], option: str, value: str
) -> None:
    code, _, err = score(option, value)
    assert code == 2 and option in err and err.count("\n") == 1
    assert predicted() == 0
