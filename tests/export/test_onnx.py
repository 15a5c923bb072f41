"""The ONNX file: its names and axes, and that its batch axis is free."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from brainmvp_export.onnx import live_bytes
from brainmvp_export.parity import Array
from brainmvp_models.bundle import Bundle
from brainmvp_server.inference.engines import ENGINES, installed_engines, load_engine

ON_CPU = [name for name in installed_engines() if not ENGINES[name].on_gpu]


def _axes(value: onnx.ValueInfoProto) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def test_graph_takes_image_gives_logits_and_frees_only_the_batch(small_bundle: Bundle) -> None:
    graph = onnx.load(small_bundle.network).graph
    assert [value.name for value in graph.input] == ["image"]
    assert [value.name for value in graph.output] == ["logits"]
    assert _axes(graph.input[0]) == [None, 4, 32, 48, 64]
    assert _axes(graph.output[0]) == [None, 3, 32, 48, 64]


def test_graph_has_no_transpose_at_full_resolution(small_bundle: Bundle) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load(small_bundle.network)).graph
    shapes = {value.name: _axes(value) for value in (*graph.value_info, *graph.input)}
    turned = [shapes[node.input[0]] for node in graph.node if node.op_type == "Transpose"]
    assert turned
    assert not [shape for shape in turned if shape[-3:] == [32, 48, 64]]


@pytest.mark.parametrize("name", ON_CPU)
def test_batch_of_three_gives_what_single_windows_give(
    name: str, small_bundle: Bundle, windows: Array
) -> None:
    three = np.concatenate([windows, windows[:1] * 0.5])
    engine = load_engine(small_bundle.forms, name)
    try:
        single = np.concatenate([engine.infer(window[np.newaxis]).copy() for window in three])
        batch = engine.infer(three).copy()
    finally:
        engine.close()
    assert batch.shape == single.shape == (3, 3, 32, 48, 64)
    assert np.abs(batch - single).max() < 5e-5 * single.std()


@pytest.mark.parametrize("name", ON_CPU)
def test_window_of_another_size_is_refused_by_the_graph(name: str, small_bundle: Bundle) -> None:
    engine = load_engine(small_bundle.forms, name)
    try:
        with pytest.raises(Exception, match=r"(?i)dimension|shape"):
            engine.infer(np.zeros((1, 4, 48, 48, 64), np.float32))
    finally:
        engine.close()


def test_what_is_counted_alive_is_every_tensor_until_its_last_use(tmp_path: Path) -> None:
    def value(name: str, *dims: int | str) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)

    nodes = [
        onnx.helper.make_node("Relu", ["image"], ["a"]),
        onnx.helper.make_node("Concat", ["a", "a"], ["b"], axis=1),
        onnx.helper.make_node("Add", ["b", "image"], ["logits"]),
    ]
    graph = onnx.helper.make_graph(
        nodes, "chain", [value("image", "batch", 1, 10)], [value("logits", "batch", 2, 10)]
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "chain.onnx")
    # The image stays to the end, `a` goes before the sum: at most the image, `b` and the logits.
    assert live_bytes(tmp_path / "chain.onnx") == 4 * (10 + 20 + 20)


def test_a_bundle_says_what_its_network_keeps_alive(small_bundle: Bundle) -> None:
    assert small_bundle.manifest.network.live_bytes == live_bytes(small_bundle.network)
