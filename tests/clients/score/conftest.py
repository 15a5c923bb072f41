"""Studies on disk and a peer that scores them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KEPT = "application/zip"
Brainmvp = Callable[..., tuple[int, str, str]]
Score = Callable[..., tuple[int, str, str]]


@pytest.fixture
def scoring(peer: Any, reply: Any, model: Any) -> Any:
    """The peer, serving the model 'tumour' and a result for every study."""
    peer.serves_results()
    peer.says("/v1/models/tumour", reply(body=json.dumps(model).encode()))
    return peer


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Five studies, one folder each, two volumes in each."""
    root = tmp_path / "cohort"
    for number in range(5):
        folder = root / f"DOE^JANE_{number}"
        folder.mkdir(parents=True)
        for modality in ("t1", "flair"):
            (folder / f"doe_jane_{modality}.nii").write_bytes(f"{number} {modality}".encode())
    return root


@pytest.fixture
def score(brainmvp: Brainmvp, scoring: Any, cohort: Path, tmp_path: Path) -> Score:
    """``brainmvp score`` over the cohort: exit code, stdout, stderr."""

    def command(*arguments: object, source: tuple[object, ...] = ()) -> tuple[int, str, str]:
        return brainmvp(
            "score", "tumour", "--out", tmp_path / "out", "--server", scoring.url,
            *(source or ("--folder", cohort)), *arguments,
        )  # fmt: skip

    return command


def predictions(peer: Any) -> list[Any]:
    """The requests that were predictions."""
    return [request for request in peer.requests if request.path.endswith("/predict")]


@pytest.fixture
def predicted(scoring: Any) -> Callable[[], int]:
    """How many studies were sent so far."""
    return lambda: len(predictions(scoring))
