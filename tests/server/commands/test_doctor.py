"""``brainmvp doctor``: what it says is so, and its exit code can be relied upon."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import typer
from typer.testing import CliRunner

from brainmvp_server.commands.doctor import IDENTITY, Diagnosis, diagnose, doctor
from brainmvp_server.inference.engines import ENGINES, installed_engines
from brainmvp_server.preparation.atlas import MNI152_FILE

app = typer.Typer()
app.command()(doctor)


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    return diagnose()


def test_every_engine_is_told_ready_or_with_a_problem_and_a_remedy(found: Diagnosis) -> None:
    assert [entry.engine for entry in found.engines] == list(ENGINES)
    for entry in found.engines:
        assert entry.ready or (entry.problem and entry.remedy)
    ready = {entry.engine for entry in found.engines if entry.ready}
    assert ready >= {"openvino", "onnxruntime", "torch-cpu"}


def test_gpu_engines_are_not_installed_over_the_onnxruntime_of_cpus(found: Diagnosis) -> None:
    """The two packages own one module: together, neither can be relied upon."""
    assert "onnxruntime" in found.packages
    for entry in found.engines:
        if ENGINES[entry.engine].extra == "gpu" and ENGINES[entry.engine].missing:
            assert str(entry.remedy).startswith("pip uninstall onnxruntime && pip install")


def test_the_chosen_engine_is_the_one_that_serves(found: Diagnosis) -> None:
    assert [entry.engine for entry in found.engines if entry.chosen] == [installed_engines()[0]]


def test_versions_are_those_installed(found: Diagnosis) -> None:
    import openvino

    assert openvino.__version__.startswith(found.packages["openvino"])
    assert "numpy" in found.packages


def test_the_network_that_probes_providers_is_a_valid_one() -> None:
    onnx.checker.check_model(onnx.load_from_string(IDENTITY), full_check=True)


def test_json_holds_what_text_says_and_exits_0_where_an_engine_can_run() -> None:
    as_json = CliRunner().invoke(app, ["--json", "--engine", "openvino"])
    assert as_json.exit_code == 0
    told = Diagnosis.model_validate(json.loads(as_json.stdout))
    as_text = CliRunner().invoke(app, ["--engine", "openvino"])
    for entry in told.engines:
        assert entry.engine in as_text.stdout
        assert (entry.problem or "ready on CPU") in as_text.stdout


def test_an_engine_that_cannot_run_exits_1_and_an_unknown_one_2(found: Diagnosis) -> None:
    for entry in found.engines:
        if not entry.ready:
            assert CliRunner().invoke(app, ["--engine", entry.engine]).exit_code == 1
    unknown = CliRunner().invoke(app, ["--engine", "abacus"])
    assert unknown.exit_code == 2
    assert "Choose one of: tensorrt" in unknown.stderr


def test_an_atlas_is_told_usable_or_with_its_problem_and_exits_1(tmp_path: Path) -> None:
    good = CliRunner().invoke(app, ["--engine", "openvino", "--atlas", str(MNI152_FILE)])
    assert good.exit_code == 0 and f"atlas {MNI152_FILE}: mni152" in good.stdout
    missing = tmp_path / "nowhere.nii"
    variable = {"BRAINMVP_ATLAS": str(missing)}
    bad = CliRunner().invoke(app, ["--engine", "openvino", "--json"], env=variable)
    told = Diagnosis.model_validate(json.loads(bad.stdout)).atlas
    assert bad.exit_code == 1 and told is not None
    assert told.file == str(missing) and told.problem and told.remedy
