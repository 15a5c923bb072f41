"""A raw clinical study over a real socket: four series, four frames of reference, one answer."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from brainmvp_server.imaging.grid import Grid
from dicom_studies.raw import write_raw_study
from drawn_head import draw_head
from drawn_results import mask_of

from ..conftest import Start

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def raw(real_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A patient's T1 and T1c as a scanner sends them: whole heads, each in a world of its own."""
    source = real_data("clinical") / "fg6692" / "raw"
    study = write_raw_study(tmp_path_factory.mktemp("raw"), source, ("t1", "t1c"))
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, path in enumerate(study.files):
            archive.write(path, str(number))
    return body.getvalue()


def test_a_raw_dicom_study_is_prepared_and_its_segmentation_lies_on_the_t1c(
    serve: Start, raw: bytes
) -> None:
    service = serve(ROOT / "examples" / "bundles")
    answer = service.http.post(
        "/v1/models/demo-glioma/predict",
        files={"files": raw},
        headers={"accept": "application/zip"},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as pack:
        summary = pack.read("summary.json").decode()
        segmentation = pack.read("segmentation.dcm")
        mask = nib.Nifti1Image.from_bytes(gzip.decompress(pack.read("mask.nii.gz")))
    assert '"reference":"t1c"' in summary.replace(" ", "")
    voxels = np.asarray(mask.dataobj)
    assert voxels.any()
    np.testing.assert_array_equal(mask_of(segmentation, Grid(voxels.shape, mask.affine)), voxels)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        sent = [dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    frames = {one.FrameOfReferenceUID for one in sent if "t1c" in one.SeriesDescription.lower()}
    made = dcmread(io.BytesIO(segmentation))
    referenced = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
    assert referenced <= {one.SOPInstanceUID for one in sent if one.SeriesNumber == 2}
    assert not frames or made.FrameOfReferenceUID in frames


def test_a_raw_study_that_is_to_be_taken_as_it_is_is_refused(serve: Start, raw: bytes) -> None:
    service = serve(ROOT / "examples" / "bundles")
    answer = service.http.post(
        "/v1/models/demo-glioma/predict", params={"prepare": "none"}, files={"files": raw}
    )
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("grid-mismatch")


def test_a_brain_mask_is_taken_instead_of_one_that_is_looked_for(
    serve: Start, swift_models: Path, tmp_path: Path
) -> None:
    drawn = draw_head(tmp_path)
    answer = serve(swift_models).http.post(
        "/v1/models/swift/predict",
        params={"fill": "zeros"},
        files={"t1": drawn.series.read_bytes(), "brain": drawn.brain.read_bytes()},
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()["preparation"]
    assert told["brain_series"] == [] and told["brain_ml"] == pytest.approx(drawn.ml)
