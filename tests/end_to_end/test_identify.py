"""``brainmvp identify`` says the same here and on a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brainmvp_clients.cli import run
from dicom_studies import write_study


def test_a_study_is_the_same_here_and_on_a_server(
    tiny_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "study", "ge", ("t1", "t2", "swi"), part=True).folder

    def found(*arguments: str) -> list[dict[str, Any]]:
        assert run(["identify", str(study), "--json", "--assign", "3:t1c", *arguments]) == 0
        volumes: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["volumes"]
        return volumes

    here, there = found(), found("--server", tiny_server)
    assert [one["modality"] for one in there] == ["t1", "t2", "t1c"]
    assert there == [{name: one[name] for name in there[0]} for one in here]
