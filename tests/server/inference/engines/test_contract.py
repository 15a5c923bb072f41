"""The one contract that every engine keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines import (
    ENGINES,
    Engine,
    EngineOptions,
    check_engine,
    installed_engines,
    load_engine,
)

BOX = (32, 48, 64)
WINDOW = (4, *BOX)


def _lacking(name: str) -> str | None:
    """Why an engine cannot run on this machine; engines on CPUs always can."""
    known = ENGINES[name]
    if known.on_gpu and known.missing:
        return f"{name} needs {', '.join(known.missing)}"
    if known.on_gpu:
        try:
            check_engine(name)
        except EngineUnavailable as error:
            return error.problem
    return None


def _engine(name: str) -> object:
    lacking = _lacking(name)
    return pytest.param(name, marks=pytest.mark.skipif(lacking is not None, reason=str(lacking)))


@pytest.fixture(scope="module", params=[_engine(name) for name in ENGINES])
def engine(
    request: pytest.FixtureRequest, small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    options = EngineOptions(cache=tmp_path_factory.mktemp("cache"), windows=2)
    loaded = load_engine(small_bundle.forms, request.param, options)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return np.random.default_rng(0).random((2, *WINDOW), dtype=np.float32)


def test_every_engine_of_cpus_is_installed_where_tests_run() -> None:
    assert set(installed_engines()) >= {name for name, known in ENGINES.items() if not known.on_gpu}


def test_a_batch_gives_what_its_windows_give_alone(engine: Engine, windows: np.ndarray) -> None:
    together = engine.infer(windows).copy()
    assert together.shape == (2, 3, *BOX)
    assert together.dtype == np.float32
    for window, logits in zip(windows, together, strict=True):
        alone = engine.infer(window[np.newaxis])[0]
        np.testing.assert_allclose(alone, logits, atol=1e-4)


def test_the_same_window_gives_the_same_bits(engine: Engine, windows: np.ndarray) -> None:
    first = engine.infer(windows[:1]).copy()
    np.testing.assert_array_equal(engine.infer(windows[:1]), first)


def test_an_engine_says_what_it_is(engine: Engine) -> None:
    assert engine.info.name in ENGINES
    assert engine.info.on_gpu == ENGINES[engine.info.name].on_gpu
    assert engine.info.precision == "fp32"


def test_more_windows_than_fit_are_taken_all_the_same(engine: Engine, windows: np.ndarray) -> None:
    three = np.concatenate([windows, windows[:1]])
    assert engine.infer(three).shape == (3, 3, *BOX)


@pytest.mark.parametrize("name", [_engine(name) for name in ENGINES])
@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" * 500])
def test_a_damaged_network_is_refused_in_plain_words(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / f"model{ENGINES[name].reads[0]}"
    path.write_bytes(content)
    with pytest.raises(EngineUnavailable, match="cannot load the network"):
        load_engine(path, name)


def test_an_unknown_engine_is_refused_with_those_there_are(small_bundle: Bundle) -> None:
    with pytest.raises(EngineUnavailable, match="openvino, onnxruntime"):
        load_engine(small_bundle.forms, "abacus")


@pytest.mark.parametrize("name", [name for name in ENGINES if _lacking(name)])
def test_an_engine_without_its_gpu_is_refused_and_the_cpu_does_not_stand_in(
    small_bundle: Bundle, name: str
) -> None:
    with pytest.raises(EngineUnavailable, match=r"not installed.*brainmvp\[gpu\]|NVIDIA GPU"):
        load_engine(small_bundle.forms, name)
