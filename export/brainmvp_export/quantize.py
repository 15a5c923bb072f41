"""Post-training quantisation to INT8 by NNCF: an ONNX file in, OpenVINO's form out."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

Array = NDArray[np.float32]


def write_int8(onnx_file: Path, calibration: Array, path: Path) -> None:
    """Quantise a network and write it as ``path`` (.xml) with its weights beside it (.bin).

    Weights are symmetric, one scale an output channel; activations keep a zero point where their
    values are not symmetric, and span all that was seen; biases are corrected. What is neither a
    convolution nor a matrix product stays in float32, norms among it.

    Args:
        onnx_file: the network in float32.
        calibration: (N, C, h, w, d) windows from which the ranges of activations are taken.
    """
    nncf = _nncf()
    ranges = import_module("nncf.quantization.range_estimator")
    with _quiet():
        network = nncf.quantize(
            ov.Core().read_model(onnx_file),
            nncf.Dataset([window[np.newaxis] for window in calibration]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges.RangeEstimatorParametersSet.MINMAX
            ),
        )
    ov.save_model(network, path, compress_to_fp16=False)


def _nncf() -> Any:
    """NNCF, told before its import to send nobody word of its use."""
    os.environ.setdefault("NNCF_CI", "1")
    with _quiet():
        import nncf
    return nncf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF draws its progress bars on stdout; a command's output is not theirs."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
