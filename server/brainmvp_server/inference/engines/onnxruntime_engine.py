"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from brainmvp_server.inference.engines.protocol import EngineInfo


class OnnxRuntimeEngine:
    """An ONNX network in an ONNX Runtime session."""

    def __init__(self, network: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            str(network), options, providers=["CPUExecutionProvider"]
        )

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("onnxruntime", "CPU", "fp32")

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._session.run(["logits"], {"image": windows})[0]
        return logits

    def close(self) -> None:
        del self._session


def load(network: Path) -> OnnxRuntimeEngine:
    """Open a session on ``network``."""
    return OnnxRuntimeEngine(network)
