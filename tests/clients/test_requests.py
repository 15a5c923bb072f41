"""What arrives at a server."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from brainmvp_clients import Client, DicomOptions, LocalFileError, ServerUnreachable

MIB = 1 << 20


def test_each_modality_arrives_as_one_part_with_its_bytes(
    peer: Any, call: Any, study: dict[str, Path]
) -> None:
    peer.serves_results()
    call(peer.url, "predict", "tumour", study)
    (request,) = peer.requests
    parts = request.parts()
    assert (request.method, request.path) == ("POST", "/v1/models/tumour/predict")
    assert {name: content for name, (_, _, content) in parts.items()} == {
        name: path.read_bytes() for name, path in study.items()
    }


def test_a_brain_mask_is_a_part_of_its_own_behind_the_series(
    peer: Any, call: Any, study: dict[str, Path]
) -> None:
    peer.serves_results()
    call(peer.url, "predict", "tumour", {"t1": study["t1"]}, brain=study["flair"])
    (request,) = peer.requests
    parts = request.parts()
    assert list(parts) == ["t1", "brain"]
    assert parts["brain"][2] == study["flair"].read_bytes() and parts["brain"][0] == "brain.nii"


def test_file_names_with_patient_data_never_leave_the_machine(
    peer: Any, call: Any, study: dict[str, Path]
) -> None:
    peer.serves_results()
    call(peer.url, "predict", "tumour", study)
    (request,) = peer.requests
    names = {name: (file, kind) for name, (file, kind, _) in request.parts().items()}
    assert names == {
        "t1": ("t1.nii.gz", "application/gzip"),
        "flair": ("flair.nii", "application/x-nifti"),
    }
    everything = repr((request.headers, request.query, request.body)).lower()
    assert "doe" not in everything
    assert "jane" not in everything


def test_content_length_is_the_length_of_the_body(
    peer: Any, call: Any, study: dict[str, Path]
) -> None:
    peer.serves_results()
    call(peer.url, "predict", "tumour", study)
    (request,) = peer.requests
    assert request.length == len(request.body) > 0
    assert "transfer-encoding" not in request.headers


def test_options_go_into_the_query_and_absent_ones_do_not(
    peer: Any, call: Any, study: dict[str, Path], tmp_path: Path
) -> None:
    peer.serves_results()
    call(peer.url, "predict", "tumour", study)
    call(
        peer.url, "results", "a/b", study, tmp_path / "r", version="1", fill="zeros",
        probabilities=True, resample=True, form="qform",
    )  # fmt: skip
    plain, full = peer.requests
    assert (plain.query, plain.headers["accept"]) == ({}, "application/json")
    assert full.path == "/v1/models/a%2Fb/predict"
    assert full.query == {
        "version": ["1"], "fill": ["zeros"], "probabilities": ["true"], "resample": ["true"],
        "form": ["qform"],
    }  # fmt: skip
    assert full.headers["accept"] == "application/zip"
    assert full.headers["accept-encoding"] == "identity"


def test_choices_about_dicom_go_into_the_query(
    peer: Any, call: Any, study: dict[str, Path], tmp_path: Path
) -> None:
    peer.serves_results()
    chosen = DicomOptions(("5:t1c", "6:none"), 800.0, "labelmap", "all", overlay=True)
    call(peer.url, "results", "tumour", study, tmp_path / "r", dicom=chosen)
    (request,) = peer.requests
    assert request.query == {
        "assign": ["5:t1c", "6:none"],
        "b_value": ["800"],
        "seg": ["labelmap"],
        "seg_frames": ["all"],
        "overlay": ["true"],
    }
    with pytest.raises(ValueError, match="assignment"):
        DicomOptions(("t1c",))


def test_headers_of_the_caller_are_sent_and_the_client_names_itself(peer: Any, call: Any) -> None:
    peer.says("/health/ready", _reply(peer))
    call(peer.url, "ready", client={"headers": {"Authorization": "Bearer x"}})
    (request,) = peer.requests
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["user-agent"].startswith("brainmvp-clients/")


def test_a_path_before_the_api_is_kept(peer: Any, call: Any, reply: Any) -> None:
    peer.says("/mri/v1/models", reply(body=b'{"models": []}'))
    assert call(f"{peer.url}/mri/", "models") == ()


def test_progress_rises_to_the_whole_body(peer: Any, call: Any, study: dict[str, Path]) -> None:
    peer.serves_results()
    seen: list[tuple[int, int]] = []
    call(peer.url, "predict", "tumour", study, on_upload=lambda *step: seen.append(step))
    (request,) = peer.requests
    assert seen == sorted(seen)
    assert seen[-1] == (request.length, request.length)
    assert {total for _, total in seen} == {request.length}


def test_upload_does_not_read_a_file_into_memory(peer: Any, call: Any, tmp_path: Path) -> None:
    peer.serves_results()
    peer.keep_bodies = False
    path = tmp_path / "large.nii"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    call(peer.url, "predict", "tumour", {"t2": path})  # warm: imports and caches
    tracemalloc.start()
    try:
        call(peer.url, "predict", "tumour", {"t1": path})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peer.requests[-1].length > 64 * MIB
    assert peak < 8 * MIB


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
    ids=["missing", "folder", "empty"],
)
def test_unusable_file_is_named_before_anything_is_sent(
    peer: Any, call: Any, study: dict[str, Path], tmp_path: Path, make: Any, problem: str
) -> None:
    path = tmp_path / "bad.nii"
    make(path)
    with pytest.raises(LocalFileError) as caught:
        call(peer.url, "predict", "tumour", {**study, "t2": path})
    assert str(caught.value).startswith(f"t2 ({path}): {problem}. ")
    assert peer.requests == []


def test_file_that_shrinks_while_sent_is_an_error_not_a_wrong_study(
    peer: Any, call: Any, tmp_path: Path
) -> None:
    peer.serves_results()
    path = tmp_path / "t1.nii"
    path.write_bytes(b"x" * MIB)

    def shrink(done: int, _: int) -> None:
        with path.open("r+b") as file:
            file.truncate(10)

    with pytest.raises(LocalFileError, match="became shorter"):
        call(peer.url, "predict", "tumour", {"t1": path}, on_upload=shrink)


@pytest.mark.parametrize("study", [{}, {'t1"\r\nX: y': "t1.nii"}, {"": "t1.nii"}])
def test_study_that_is_none_is_a_programming_error(call: Any, study: Any, nowhere: str) -> None:
    with pytest.raises(ValueError, match=r"modality"):
        call(nowhere, "predict", "tumour", study)


@pytest.mark.parametrize(
    "server", ["localhost:8000", "", "ftp://host", "http://", "http://h:99999"]
)
def test_address_that_is_none_is_refused_at_once(server: str) -> None:
    with pytest.raises(ServerUnreachable, match="Write it as http://HOST:PORT"):
        Client(server)


@pytest.mark.parametrize(
    ("rest", "part"),
    [
        ("?resample=true", "query"),
        ("/?fill=zeros", "query"),
        ("/brain?x=y", "query"),
        ("#top", "fragment"),
        ("/?t=s#u", "query"),
    ],
)
def test_a_query_in_the_address_is_refused_not_dropped(rest: str, part: str) -> None:
    with pytest.raises(ServerUnreachable, match=f"has a {part}") as caught:
        Client(f"http://host:1{rest}")
    assert "?" not in caught.value.subject and "--resample" in caught.value.remedy


@pytest.mark.parametrize("form", ["user:secret@host:1", "secret@host:1", "user:secret@host:1/?q=1"])
def test_credentials_in_the_address_are_refused_and_stay_out_of_messages(form: str) -> None:
    with pytest.raises(ServerUnreachable, match="credentials") as caught:
        Client(f"http://{form}")
    assert "BRAINMVP_API_KEY" in caught.value.remedy
    assert "secret" not in str(caught.value) and "user" not in str(caught.value)


@pytest.mark.parametrize("form", ["ftp://user:secret@host", "http://user:secret@host:99999"])
def test_credentials_in_an_address_that_is_none_stay_out_of_messages(form: str) -> None:
    with pytest.raises(ServerUnreachable) as caught:
        Client(form)
    assert "secret" not in str(caught.value)


def _reply(peer: Any) -> Any:
    peer.serves_results()
    return peer.replies["application/json"]
