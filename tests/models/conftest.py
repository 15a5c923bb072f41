"""Small bundles and checkpoints, made without an export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from brainmvp_models.bundle import Bundle, describe_file
from brainmvp_models.manifest import Manifest, Network, Parity, Provenance
from brainmvp_models.task import load_task

State = dict[str, torch.Tensor]


@pytest.fixture
def write_bundle() -> Callable[..., Path]:
    """Writes a bundle whose network is a few bytes: opening a bundle does not run it."""

    def write(models: Path, name: str = "tiny", version: str = "1") -> Path:
        folder = models / name / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(f"network of {name} {version}".encode())
        (folder / "card.md").write_text("# card\n", encoding="utf-8")
        manifest = Manifest(
            name=name,
            version=version,
            task=load_task("vsseg"),
            network=Network(file="model.onnx", size="tiny", parameters=1, precision="fp32"),
            files=tuple(describe_file(folder / file) for file in ("card.md", "model.onnx")),
            provenance=Provenance(
                checkpoint="sha256:" + "0" * 64, exporter="test", command="", created="now"
            ),
            parity=(Parity(engine="none", windows=1, max_error=0, tolerance=1e-3, agreement=1),),
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
        assert Bundle.open(folder).manifest == manifest
        return folder

    return write
