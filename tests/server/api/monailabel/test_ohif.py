"""OHIF's way: the series on the screen is named, and the whole study is seen.

The requests are what the plugin of MONAI Label's repository sends (its ``MonaiLabelClient``), byte
for byte; answers are read as it reads them.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import dcmread

from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings
from dicom_studies import Study

from ..conftest import Service, running

BOUNDARY = "----WebKitFormBoundaryq1AdGz5pDkQ0qR3T"
BODY = (
    f"--{BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="params"\r\n\r\n'
    '{"result_extension":".nrrd","result_dtype":"uint16","result_compress":false,'
    '"restore_label_idx":false}\r\n'
    f"--{BOUNDARY}--\r\n"
).encode()
HEADERS = {
    "accept": "application/json,multipart/form-data",
    "content-type": f"multipart/form-data; boundary={BOUNDARY}",
}


def uid(study: Study, contrast: str) -> str:
    return str(dcmread(study.series[contrast].files[0], stop_before_pixels=True).SeriesInstanceUID)


def asked(service: Service, image: str, output: str = "all", model: str = "tiny") -> httpx.Response:
    return service.http.post(
        f"/infer/{model}", params={"image": image, "output": output},
        content=BODY, headers=HEADERS,
    )  # fmt: skip


def read_as_the_plugin_does(answer: httpx.Response) -> tuple[dict[str, list[int]], bytes]:
    """``parseResponse``: the body as text, cut at the boundary; a character is a byte."""
    boundary = answer.headers["content-type"].split("boundary=")[1]
    parts = answer.content.decode("utf-8", "replace").split(f"--{boundary}")
    said = next(part for part in parts if "Content-Type: application/json" in part)
    image = next(part for part in parts if "Content-Type: application/octet-stream" in part)
    data = image.split("\r\n\r\n")[1]
    data = data[: data.rindex("\r\n")]
    params = json.loads(said[said.index("{") : said.rindex("}") + 1])
    return params["centroids"], bytes(ord(letter) & 0xFF for letter in data)


@pytest.mark.parametrize("contrast", ["t1", "flair"])
def test_the_series_shown_brings_its_whole_study_and_the_mask_lies_on_it(
    viewers: Service, study: Study, contrast: str
) -> None:
    answer = asked(viewers, uid(study, contrast))
    assert answer.status_code == 200, answer.text
    centroids, file = read_as_the_plugin_does(answer)
    head, voxels = file.split(b"\n\n", 1)
    lines = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    sizes = [int(size) for size in lines["sizes"].split()]
    first = dcmread(study.series[contrast].files[0], stop_before_pixels=True)
    assert sizes == [first.Columns, first.Rows, len(study.series[contrast].files)]
    assert lines["encoding"] == "raw" and lines["type"] in ("uint16", "unsigned short")
    mask = np.frombuffer(voxels, "<u2")
    assert len(mask) == np.prod(sizes) and mask.any()
    assert {value for value, *_ in centroids.values()} == set(np.unique(mask)) - {0}
    params = json.loads(asked(viewers, uid(study, contrast), "json").content)
    real = {m["modality"] for m in params["brainmvp"]["real"]}
    assert real == {"t1", "t1c", "t2", "flair"}


def test_a_segmentation_object_refers_to_the_series_shown(viewers: Service, study: Study) -> None:
    answer = asked(viewers, uid(study, "flair"), "dicom_seg")
    made = dcmread(BytesIO(answer.content))
    assert made.Modality == "SEG"
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == uid(study, "flair")


@pytest.mark.parametrize("image", ["1.2.3.4.5", "../../etc", "1.2.3?x=1", "t1.nii.gz", "1" * 65])
def test_a_series_that_is_not_there_is_said(viewers: Service, image: str) -> None:
    answer = asked(viewers, image)
    assert answer.status_code == 404 and answer.json()["remedy"]
    bare = viewers.http.post("/infer/tiny", params={"image": image})  # as curl -X POST sends it
    assert bare.status_code == 404 and bare.json()["type"] == answer.json()["type"]
    assert not list(viewers.scratch.iterdir())


def test_a_pacs_that_does_not_answer_is_said(
    model_folder: Path, tmp_path: Path, study: Study
) -> None:
    settings = Settings.of(
        models=model_folder, scratch=tmp_path, monailabel=True, pacs_url="http://127.0.0.1:9/dicom"
    )
    with running(create_app(settings)) as http:
        answer = asked(Service(http, tmp_path), uid(study, "t1"))
        assert answer.status_code == 502
        assert answer.json()["type"] == "urn:brainmvp:problem:pacs-unavailable"


def test_viewers_are_answered_only_where_that_is_asked_for(service: Service) -> None:
    assert service.http.get("/info/").status_code == 404
    assert service.http.put("/session/", files={"files": b"x"}).status_code == 404
