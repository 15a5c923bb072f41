"""INT8, which the export wrote once and no longer does: its bundles are served as they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from brainmvp_export.cpu_proof import prove_on_cpu
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable, InvalidBundle
from brainmvp_server.inference.cpu_precision import in_bfloat16
from brainmvp_server.inference.engines import EngineOptions, load_engine
from brainmvp_server.inference.predictor import Predictor
from kept_fixtures import MODEL

FIXTURES = Path(__file__).parent / "fixtures"
WRITTEN = FIXTURES / "v0" / "int8" / MODEL / "1"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The kept model, quantised by the exporter of 0.1.0."""
    return Bundle.open(WRITTEN)


def test_it_is_served_by_openvino_and_says_int8(bundle: Bundle) -> None:
    with Predictor.load(bundle) as predictor:
        assert predictor.bundle.manifest.network.precision == "int8"
    engine = load_engine(bundle.forms, options=EngineOptions(precision="int8"))
    exact = load_engine(Bundle.open(FIXTURES / "v0" / "models" / MODEL / "1").forms)
    window = np.random.default_rng(1).random((1, 4, 48, 48, 48), dtype=np.float32)
    assert (engine.info.name, engine.info.precision) == ("openvino", "int8")
    expected = exact.infer(window)
    assert 0 < np.abs(engine.infer(window) - expected).max() < 0.1 * expected.std()


def test_another_engine_refuses_it_in_plain_words(bundle: Bundle) -> None:
    with pytest.raises(
        EngineUnavailable, match=r"'onnxruntime' does not run int8 networks. Choose openvino"
    ):
        Predictor.load(bundle, "onnxruntime")


def test_weights_that_were_changed_are_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(WRITTEN, tmp_path / "1"))
    content = bytearray((folder / "model.bin").read_bytes())
    content[-1] ^= 1
    (folder / "model.bin").write_bytes(content)
    with pytest.raises(InvalidBundle, match=r"model\.bin is not the file that was exported"):
        Bundle.open(folder)


def test_it_is_neither_computed_in_bfloat16_nor_proved_for_it(bundle: Bundle) -> None:
    assert not in_bfloat16(bundle, None, "auto", "amx")
    with pytest.raises(EngineUnavailable, match="not in INT8"):
        prove_on_cpu(bundle, ())
