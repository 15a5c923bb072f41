"""MITK's way: one file over HTTPS, always called alike, and an answer cut at its boundary.

The request is what MITK's MONAI Label tool sends for an automatic model, byte for byte but for the
boundary's digits; answers are read as it reads them.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings

from ..conftest import running

BOUNDARY = "--httplib-multipart-data-Kq0gYBvT4ndPzXr2"


def _posted(http: httpx.Client, scan: Path) -> httpx.Response:
    head = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="params"\r\n\r\n'
        '{"restore_label_idx": true}\r\n'
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="post_from_mitk.nii.gz"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + scan.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return http.post("/infer/tiny", content=body, headers=headers)


def _read_as_mitk_does(answer: httpx.Response) -> tuple[dict[str, int], bytes]:
    """``PostInferRequest``: the parts between boundaries, each from its content type on; white
    space before the image is taken off, what follows it is left to the reader of gzip."""
    boundary = answer.headers["content-type"].split("boundary=")[1]
    said, image = (part for part in answer.content.split(f"--{boundary}".encode())[:3] if part)
    params = json.loads(said.split(b"Content-Type: application/json", 1)[1])
    file = image.split(b"Content-Type: application/octet-stream", 1)[1].lstrip(b" \r\n")
    return params["label_names"], file


@pytest.fixture
def zeros(coarse_bundle: Bundle, tmp_path: Path) -> Path:
    """A folder with a model that needs no templates: MITK cannot ask for zeros."""
    root = tmp_path / "models" / "tiny" / "1"
    shutil.copytree(coarse_bundle.root, root)
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["task"]["filling"]["policy"] = "zeros"
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root.parents[1]


def test_a_file_of_mitk_s_is_what_the_setting_says_and_refused_without_it(
    zeros: Path, tmp_path: Path, scan: Path
) -> None:
    def settings(modality: str | None) -> Settings:
        return Settings.of(
            models=zeros, scratch=tmp_path, monailabel=True, monailabel_modality=modality
        )

    with running(create_app(settings("flair"))) as http:
        answer = _posted(http, scan)
        assert answer.status_code == 200, answer.text
        labels, file = _read_as_mitk_does(answer)
        mask = np.asarray(
            nib.Nifti1Image.from_bytes(zlib.decompressobj(31).decompress(file)).dataobj
        )
        assert mask.shape == nib.load(scan).shape
        assert set(np.unique(mask)) <= set(labels.values()) and mask.any()
        said = json.loads(answer.content.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0])
        assert [m["modality"] for m in said["brainmvp"]["real"]] == ["flair"]
    with running(create_app(settings(None))) as http:
        refused = _posted(http, scan)
        assert refused.status_code == 422 and "monailabel_modality" in refused.json()["remedy"]
