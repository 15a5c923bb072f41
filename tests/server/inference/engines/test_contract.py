"""The one contract that every engine keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines import ENGINES, Engine, installed_engines, load_engine

WINDOW = (4, 96, 96, 96)


@pytest.fixture(scope="module", params=list(ENGINES))
def engine(request: pytest.FixtureRequest, tiny_bundle: Bundle) -> Iterator[Engine]:
    loaded = load_engine(tiny_bundle.network, request.param)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.random.default_rng(0).random((2, *WINDOW), dtype=np.float32)


def test_every_known_engine_is_installed_where_tests_run() -> None:
    assert installed_engines() == tuple(ENGINES)


def test_a_batch_gives_what_its_windows_give_alone(engine: Engine, windows: np.ndarray) -> None:
    together = engine.infer(windows).copy()
    assert together.shape == (2, 3, 96, 96, 96)
    assert together.dtype == np.float32
    for window, logits in zip(windows, together, strict=True):
        alone = engine.infer(window[np.newaxis])[0]
        np.testing.assert_allclose(alone, logits, atol=1e-4)


def test_the_same_window_gives_the_same_bits(engine: Engine, windows: np.ndarray) -> None:
    first = engine.infer(windows[:1]).copy()
    np.testing.assert_array_equal(engine.infer(windows[:1]), first)


def test_an_engine_says_what_it_is(engine: Engine) -> None:
    assert engine.info.name in ENGINES
    assert engine.info.device == "CPU"
    assert engine.info.precision == "fp32"


@pytest.mark.parametrize("name", list(ENGINES))
@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" * 500])
def test_a_damaged_network_is_refused_in_plain_words(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineUnavailable, match="cannot load the network"):
        load_engine(path, name)


def test_an_unknown_engine_is_refused_with_those_there_are(tiny_bundle: Bundle) -> None:
    with pytest.raises(EngineUnavailable, match="openvino, onnxruntime"):
        load_engine(tiny_bundle.network, "abacus")
