"""The plain way to serve: FastAPI, one lock, MONAI and PyTorch.

    python benchmarks/plain.py CHECKPOINT BUNDLE

The same calls as ours: POST /v1/models/any/predict with one part a modality, answered by the mask.
What is not sent is zero. Prints ``listening on URL``.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any

import anyio
import nibabel as nib
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    ScaleIntensityRangePercentilesd,
    Spacingd,
)

from brainmvp_models.bundle import Bundle

MODALITIES = ("t1", "t1c", "t2", "flair")


def torch_network(file: Path, bundle: Bundle) -> Any:
    """The checkpoint in PyTorch."""
    from brainmvp_training.checkpoint import load_network, read_checkpoint

    return load_network(read_checkpoint(file), bundle.task)


def evaluate(files: dict[str, Path], network: Any) -> bytes:
    """One study by MONAI's own parts; the mask as an uncompressed NIfTI."""
    names = list(files)
    loaded = Compose([LoadImaged(names), EnsureChannelFirstd(names)])(dict(files))
    first = loaded[names[0]]
    stack = MetaTensor(torch.cat([loaded[n].as_tensor() for n in names]), affine=first.affine)
    prepare = Compose(
        [
            ScaleIntensityRangePercentilesd("image", 5, 95, 0, 1, channel_wise=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(1, 1, 1), mode="bilinear"),
            CropForegroundd("image", source_key="image", margin=1, allow_smaller=True),
        ]
    )
    prepared = prepare({"image": stack})
    image = torch.zeros(len(MODALITIES), *prepared["image"].shape[1:])
    for index, name in enumerate(names):
        image[MODALITIES.index(name)] = prepared["image"].as_tensor()[index]
    with torch.inference_mode():
        logits = sliding_window_inference(image[None], (96, 96, 96), 1, network, overlap=0.5)
    prepared["pred"] = MetaTensor(torch.sigmoid(logits[0]), affine=prepared["image"].affine)
    invert = Invertd("pred", prepare, orig_keys="image", nearest_interp=False, to_tensor=True)
    member = invert(prepared)["pred"].numpy() > 0.5
    mask = np.zeros(member.shape[1:], np.uint8)
    for index, value in ((1, 2), (0, 1), (2, 4)):
        mask[member[index]] = value
    return nib.Nifti1Image(mask, np.asarray(first.affine)).to_bytes()


def plain_app(network: Any) -> FastAPI:
    """FastAPI with one lock around everything."""
    app, turn = FastAPI(), threading.Lock()

    @app.post("/v1/models/any/predict")
    async def predict(request: Request) -> Response:
        form = await request.form()
        with tempfile.TemporaryDirectory() as folder:
            files = {}
            for name, part in form.items():
                files[name] = Path(folder) / f"{name}.nii.gz"
                files[name].write_bytes(await part.read())  # type: ignore[union-attr]

            def work() -> bytes:
                with turn:
                    return evaluate(files, network)

            return Response(await anyio.to_thread.run_sync(work))

    return app


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundle", type=Path)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    port = free_port()
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    app = plain_app(torch_network(options.checkpoint, bundle))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main()
