"""Real scanners' series over a real socket: the result reaches its user in every form."""

from __future__ import annotations

import email
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_server.imaging.grid import Grid
from drawn_results import mask_of

from ..conftest import Start

SERIES = ["siemens-xa30-enhanced-t1"]


@pytest.fixture(params=SERIES)
def study(request: pytest.FixtureRequest, real_data: Callable[[str], Path]) -> bytes:
    """Everything in a folder of a real scanner, as a zip."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted((real_data("dicom") / request.param).glob("*.dcm")):
            archive.write(path, path.name)
    return body.getvalue()


def test_a_real_series_comes_back_as_json_zip_and_dicom_on_its_own_grid(
    serve: Start, swift_models: Path, study: bytes
) -> None:
    service = serve(swift_models)

    def asked(accept: str) -> bytes:
        answer = service.http.post(
            "/v1/models/swift/predict",
            params={"fill": "zeros"},
            files={"files": study},
            headers={"accept": accept},
        )
        assert answer.status_code == 200, answer.text
        kind = f"content-type: {answer.headers['content-type']}\r\n\r\n".encode()
        return kind + answer.content if accept == "application/dicom" else answer.content

    summary = json.loads(asked("application/json"))
    assert [entry["modality"] for entry in summary["real"]] == ["t1"]
    assert summary["missing"] == []
    with zipfile.ZipFile(io.BytesIO(asked("application/zip"))) as pack:
        assert {"mask.nii.gz", "segmentation.dcm", "report.dcm"} <= set(pack.namelist())
        image = nib.Nifti1Image.from_bytes(gzip.decompress(pack.read("mask.nii.gz")))
        segmentation = pack.read("segmentation.dcm")
    mask = np.asarray(image.dataobj)
    assert mask.any()
    grid = Grid(mask.shape, image.affine)
    np.testing.assert_array_equal(mask_of(segmentation, grid), mask)
    parts = email.message_from_bytes(asked("application/dicom")).get_payload()
    objects = [part.get_payload(decode=True) for part in parts]  # type: ignore[union-attr]
    assert len(objects) == 2
    np.testing.assert_array_equal(mask_of(objects[0], grid), mask)
