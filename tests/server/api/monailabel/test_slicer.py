"""3D Slicer's way: its own client lists models, keeps an image for a while, and asks for a mask."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pytest

from ..conftest import Service
from .conftest import LEAVES_SOCKETS, SESSION_S

pytestmark = LEAVES_SOCKETS
FILL = {"fill": "zeros"}
WISHES = {
    "result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False, **FILL,
}  # fmt: skip


@pytest.fixture
def named(scan: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(scan, tmp_path / "t1.nii.gz"))


def mask_of(viewers: Service, scan: Path) -> Any:
    """What the service's own call answers, (i, j, k)."""
    answer = viewers.predict(
        files={"t1": scan.read_bytes()}, params=FILL, headers={"accept": "application/x-nifti"}
    )
    assert answer.status_code == 200, answer.text
    return np.asarray(nib.Nifti1Image.from_bytes(answer.content).dataobj)


def test_models_are_listed_with_the_values_of_their_masks(client: Any) -> None:
    info = client.info()
    assert set(info["models"]) == {"tiny", "grade"}
    tiny = info["models"]["tiny"]
    assert tiny["type"] == "segmentation" and info["models"]["grade"]["type"] == "classification"
    assert tiny["labels"]["background"] == 0 and max(tiny["labels"].values()) == 4
    assert info["labels"][0] == "background"
    assert info["strategies"] == info["trainers"] == info["scoring"] == {}
    assert not client.auth_enabled()


def test_a_session_is_worked_on_and_its_mask_lies_where_the_scan_does(
    client: Any, viewers: Service, named: Path, scan: Path
) -> None:
    session = client.create_session(str(named))["session_id"]
    assert client.get_session(session)["expiry"] == SESSION_S
    file, params = client.infer("tiny", "", dict(WISHES), session_id=session)
    mask, header = nrrd.read(file)
    assert mask.dtype == np.uint8 and mask.any()
    np.testing.assert_array_equal(mask, mask_of(viewers, scan))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    assert header["space"] == "left-posterior-superior"
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ affine, nib.load(scan).affine, atol=1e-4)
    for name, (value, *centre) in params["centroids"].items():
        assert params["label_names"][name] == value
        places = np.argwhere(mask == value)
        assert np.abs(places.mean(axis=0) - centre).max() <= 0.5
    assert "not this patient's" in " ".join(params["brainmvp"]["warnings"])
    client.remove_session(session)
    with pytest.raises(Exception, match="unknown-image"):
        client.infer("tiny", "", dict(WISHES), session_id=session)


def test_an_image_is_kept_under_its_name_which_says_what_it_is(
    client: Any, viewers: Service, scan: Path, tmp_path: Path
) -> None:
    """Slicer saves a volume under a random name, and calls the image as the user sees it."""
    saved = shutil.copyfile(scan, tmp_path / "tmpk3j2.nii.gz")
    assert client.upload_image(str(saved), "FLAIR axial.nii.gz") == {"image": "FLAIR axial.nii.gz"}
    file, params = client.infer(
        "tiny", "FLAIR axial.nii.gz", {"result_extension": ".nii.gz", **FILL}
    )
    assert file.endswith("label.nii.gz") and nib.load(file).shape == nib.load(scan).shape
    real = [m["modality"] for m in params["brainmvp"]["real"]]
    assert real == ["flair"]
    kept = viewers.http.get("/datastore/image", params={"image": "FLAIR axial.nii.gz"})
    assert kept.content == Path(saved).read_bytes()


def test_a_file_that_nobody_names_is_refused_with_what_to_do_and_taken_once_it_is_said(
    client: Any, scan: Path, tmp_path: Path
) -> None:
    saved = str(shutil.copyfile(scan, tmp_path / "tmpk3j2.nii.gz"))
    with pytest.raises(Exception, match=r"nothing-identified.*Name the volume"):
        client.infer("tiny", "", {}, file=saved)
    file, _ = client.infer("tiny", "", {"modality": "t1", **FILL}, file=saved)
    assert nib.load(file).shape == nib.load(scan).shape


def test_a_broken_image_s_reason_reaches_the_user(client: Any, tmp_path: Path) -> None:
    broken = tmp_path / "t1.nii.gz"
    broken.write_bytes(b"\x1f\x8b no scan")
    with pytest.raises(Exception, match=r"invalid-|nothing-identified") as error:
        client.infer("tiny", "", {}, file=str(broken))
    assert "remedy" in error.value.msg


def test_a_classifier_answers_scores_and_no_image(client: Any, named: Path) -> None:
    file, params = client.infer("grade", "", dict(FILL), file=str(named))
    assert file is None and json.loads(params)["brainmvp"]["scores"]


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ("[", "not JSON"),
        ("[1]", "params"),
        ('{"result_extension": ".exe"}', "result_extension"),
        ('{"modality": "ct"}', "ct"),
    ],
)
def test_wishes_that_cannot_be_met_are_said(viewers: Service, wishes: str, said: str) -> None:
    answer = viewers.http.post("/infer/tiny", data={"params": wishes}, files={"file": b"x"})
    assert answer.status_code == 422 and said in answer.text


def test_nothing_named_an_unknown_part_and_an_unknown_model_are_refused(viewers: Service) -> None:
    post = viewers.http.post
    empty = {"params": (None, "{}")}
    assert post("/infer/tiny", files=empty).json()["type"].endswith("invalid-query")
    assert post("/infer/tiny").json()["type"].endswith("invalid-query")
    assert post("/infer/tiny", files={"label": b"scribbles"}).status_code == 400
    assert post("/infer/nobody?image=1.2", files=empty).status_code == 404
    assert post("/infer/grade?image=1.2&output=image", files=empty).status_code == 406
