"""``brainmvp identify --server``."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Brainmvp = Callable[..., tuple[int, str, str]]

FOUND = {
    "volumes": [
        {"label": "5", "kind": "dicom", "modality": "t1c", "confidence": "high", "used": True,
         "evidence": ["agent given"], "reason": "the only one", "description": "T1 +C"},
        {"label": "6.2", "kind": "dicom", "modality": None, "confidence": "none",
         "evidence": [], "reason": "a localizer", "description": "SCOUT"},
    ],
    "unreadable": 1,
    "other": 2,
}  # fmt: skip


@pytest.fixture
def identifying(peer: Any, reply: Any) -> Any:
    """The peer, which finds the same in every study."""
    peer.says("/v1/studies/identify", reply(body=json.dumps(FOUND).encode()))
    return peer


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Images of both kinds, and a letter."""
    folder = tmp_path / "DOE^JANE"
    (folder / "jane.doe").mkdir(parents=True)
    (folder / "jane.doe" / "IM_DOE").write_bytes(bytes(128) + b"DICM")
    (folder / "Jane.Doe_t1ce.nii").write_bytes(b"voxels")
    (folder / "Jane.Doe.nii.gz").write_bytes(b"voxels")
    (folder / "Jane.Doe_flair.mgz").write_bytes(b"voxels")
    (folder / "Jane.Doe_t2.NRRD").write_bytes(b"voxels")
    (folder / "letter about Jane.txt").write_text("Dear colleague")
    return folder


def test_images_are_sent_and_neither_their_names_nor_other_files(
    brainmvp: Brainmvp, identifying: Any, study: Path
) -> None:
    code, said, err = brainmvp(
        "identify", study, "--server", identifying.url, "--json", "--assign", "5:t1c",
        "--b-value", "800",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert [one["modality"] for one in json.loads(said)["volumes"]] == ["t1c", None]
    (request,) = identifying.requests
    assert request.query == {"assign": ["5:t1c"], "b_value": ["800"]}
    _, _, content = request.parts()["files"]
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        names = zipped.namelist()
    assert names == [
        "000001_unnamed.nii", "000002_flair.nii", "000003_t1c.nii", "000004_t2.nii", "000005.dcm",
    ]  # fmt: skip
    assert b"colleague" not in request.body and b"doe" not in request.body.lower()


def test_a_volume_alone_keeps_the_modality_that_its_name_tells(
    brainmvp: Brainmvp, identifying: Any, study: Path
) -> None:
    assert brainmvp("identify", study / "Jane.Doe_t1ce.nii", "--server", identifying.url)[0] == 0
    (request,) = identifying.requests
    _, _, content = request.parts()["files"]
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        assert zipped.namelist() == ["000001_t1c.nii"]
    assert b"doe" not in request.body.lower()


def test_people_see_what_is_used_and_why(brainmvp: Brainmvp, identifying: Any, study: Path) -> None:
    code, said, _ = brainmvp("identify", study, "--server", identifying.url)
    assert code == 0
    assert "t1c*" in said and "the only one; agent given" in said and "a localizer" in said
    assert "2 other and 1 unreadable files" in said


def test_what_the_server_advises_can_be_typed_here(
    brainmvp: Brainmvp, identifying: Any, reply: Any, study: Path
) -> None:
    said_so = "say what it is with assign=file 1:MODALITY"
    one = {"label": "file 1", "kind": "nifti", "modality": None, "confidence": "none",
           "evidence": [], "used": False, "reason": said_so}  # fmt: skip
    found = {**FOUND, "volumes": [one]}
    identifying.says("/v1/studies/identify", reply(body=json.dumps(found).encode()))
    code, said, _ = brainmvp("identify", study, "--server", identifying.url)
    assert code == 0 and "--assign 'file 1:MODALITY'" in " ".join(said.split())
    code, _, err = brainmvp(
        "identify", study, "--server", identifying.url, "--assign", "file 1:t1c"
    )
    assert (code, err) == (0, "")
    assert identifying.requests[-1].query == {"assign": ["file 1:t1c"]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--assign", "t1c"), "--assign"),
        (("--rules", "site.yaml"), "--rules"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_sent(
    brainmvp: Brainmvp, identifying: Any, study: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, _, err = brainmvp("identify", study, "--server", identifying.url, *arguments)
    assert code == 2 and words in err and err.count("\n") == 1
    assert not identifying.requests


def test_a_folder_without_images_is_refused_and_nothing_is_sent(
    brainmvp: Brainmvp, identifying: Any, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = brainmvp("identify", tmp_path / "empty", "--server", identifying.url)
    assert code == 2 and "holds no image" in err
    assert not identifying.requests


def test_a_study_in_which_nothing_is_an_image_is_refused_in_one_line(
    brainmvp: Brainmvp, identifying: Any, reply: Any, study: Path
) -> None:
    none = {"volumes": [], "unreadable": 3, "other": 0}
    identifying.says("/v1/studies/identify", reply(body=json.dumps(none).encode()))
    code, said, err = brainmvp("identify", study, "--server", identifying.url)
    assert code == 2 and not said and err.count("\n") == 1
    assert "holds no image; 3 files are damaged" in err
