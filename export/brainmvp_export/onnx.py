"""Write a network as ONNX: input ``image`` (N, C, h, w, d), output ``logits``, N free."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from brainmvp_models.task import Window

INPUT, OUTPUT = "image", "logits"


BF16_OPSET = 22
"""The first opset of ONNX in which convolutions may be in bfloat16."""


def write_onnx(
    network: nn.Module, channels: int, window: Window, path: Path, opset: int | None = None
) -> None:
    """Export ``network`` and check the file's names and axes.

    Args:
        network: in evaluation mode, image (N, C, h, w, d) float32 in, logits float32 out.
        window: the spatial size is fixed to it; the batch axis stays free.
        opset: of ONNX; by default the exporter's own.

    Raises:
        ValueError: the written graph does not have the promised input and output.
    """
    example = torch.rand(2, channels, *window.size)
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
    _check(path, channels, window)


def live_bytes(path: Path) -> int:
    """Most bytes of tensors that are alive at once for one window, weights aside.

    A node's inputs go after their last use, nodes run in the file's order. Runtimes take a multiple
    of it, each its own.
    """
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    sizes = {value.name: _bytes(value.type.tensor_type) for value in values}
    last = {name: place for place, node in enumerate(graph.node) for name in node.input}
    alive = peak = sizes[INPUT]
    for place, node in enumerate(graph.node):
        alive += sum(sizes.get(name, 0) for name in node.output)
        peak = max(peak, alive)
        alive -= sum(sizes.get(name, 0) for name in set(node.input) if last[name] == place)
    return peak


def _bytes(kind: onnx.TypeProto.Tensor) -> int:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return int(dtype.itemsize * math.prod(dim.dim_value for dim in kind.shape.dim))


def _check(path: Path, channels: int, window: Window) -> None:
    onnx.checker.check_model(str(path), full_check=True)
    graph = onnx.load(str(path), load_external_data=False).graph
    names = [value.name for value in graph.input], [value.name for value in graph.output]
    if names != ([INPUT], [OUTPUT]):
        raise ValueError(f"the graph has inputs and outputs {names}")
    kind = graph.input[0].type.tensor_type
    dims = [dim.dim_value or None for dim in kind.shape.dim]
    if kind.elem_type != onnx.TensorProto.FLOAT or dims != [None, channels, *window.size]:
        raise ValueError(f"the graph's input has shape {dims}")


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """The exporter narrates on stdout, in logs and in warnings; none of it is for our users."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
