"""LitServe with the same ONNX file, in ONNX Runtime, between MONAI's own parts.

    pip install litserve; python benchmarks/lit.py BUNDLE

The same call as ours, as ``plain.py`` answers it. Prints ``listening on URL``.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import litserve
import onnxruntime
import torch
from fastapi import Request, Response
from plain import evaluate, free_port

from brainmvp_models.bundle import Bundle


class Served(litserve.LitAPI):  # type: ignore[misc]
    """One study a request."""

    def __init__(self, network: str, path: str) -> None:
        super().__init__(api_path=path)
        self.network = network

    def setup(self, device: str) -> None:
        self.session = onnxruntime.InferenceSession(
            self.network, providers=["CPUExecutionProvider"]
        )

    # LitServe reads these annotations, so they must not be strings; what it hands over is the form.
    def decode_request(self, request: Request) -> dict[str, bytes]:
        form: Any = request
        return {name: part.file.read() for name, part in form.items()}

    def predict(self, parts: dict[str, bytes]) -> bytes:
        def network(image: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(self.session.run(["logits"], {"image": image.numpy()})[0])

        with tempfile.TemporaryDirectory() as folder:
            files = {}
            for name, content in parts.items():
                files[name] = Path(folder) / f"{name}.nii.gz"
                files[name].write_bytes(content)
            return evaluate(files, network)

    def encode_response(self, mask: bytes) -> Response:
        return Response(mask)


if __name__ == "__main__":
    bundle, port = Bundle.open(Path(sys.argv[1])), free_port()
    api = Served(str(bundle.network), "/v1/models/any/predict")
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    litserve.LitServer(api, accelerator="cpu", timeout=False).run(
        host="127.0.0.1", port=port, log_level="error", generate_client_file=False
    )
