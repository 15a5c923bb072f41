"""OpenVINO on the CPU, the preferred engine there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines.protocol import EngineInfo, EngineOptions

_MOST_XML = 4 << 20
"""Bytes of a graph in OpenVINO's form; the released network's has under 1 MiB.

OpenVINO holds the interpreter's lock while it parses one: 0.04 s a MiB.
"""


class OpenVinoEngine:
    """A network compiled by OpenVINO: an ONNX file, or OpenVINO's own form in INT8.

    Args:
        bfloat16: compute in bfloat16; else in float32.

    Raises:
        EngineUnavailable: a graph that is too large, or bfloat16 where this CPU has none.
    """

    def __init__(self, network: Path, *, bfloat16: bool = False) -> None:
        if network.suffix == ".xml" and network.stat().st_size > _MOST_XML:
            raise EngineUnavailable(
                f"{network.name} has more than {_MOST_XML >> 20} MiB, more than a graph needs",
                remedy="Export the bundle anew; weights belong into the file beside it",
                subject=network.name,
            )
        core = ov.Core()
        # By default OpenVINO computes in bfloat16 where the CPU can: 0.1 standard deviations of
        # the logits off. Full precision is the contract; bfloat16 has to be proved.
        self._compiled = core.compile_model(
            core.read_model(network),
            "CPU",
            {"INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32"},
        )
        if bfloat16 and self._compiled.get_property("INFERENCE_PRECISION_HINT") != ov.Type.bf16:
            raise EngineUnavailable(
                "OpenVINO does not compute in bfloat16 on this CPU",
                remedy="Serve with --cpu-precision fp32",
            )
        self._precision = "bf16" if bfloat16 else "int8" if network.suffix == ".xml" else "fp32"
        self._request = self._compiled.create_infer_request()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("openvino", "CPU", self._precision)

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = self._request.infer({0: windows}, share_inputs=True, share_outputs=True)
        logits: NDArray[np.float32] = outputs[0]
        return logits

    def stop(self) -> None:
        """Cancel the request: it ends after the operation it is at, within milliseconds."""
        self._request.cancel()

    def close(self) -> None:
        del self._request, self._compiled


def load(network: Path, _name: str, options: EngineOptions) -> OpenVinoEngine:
    """Compile ``network``."""
    return OpenVinoEngine(network, bfloat16=options.bfloat16)
