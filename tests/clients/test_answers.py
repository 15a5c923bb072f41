"""What a server says, good and bad, as values and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from brainmvp_clients import (
    Client,
    ClientError,
    Model,
    Refused,
    ServerFault,
    ServerUnreachable,
    Summary,
    UnexpectedAnswer,
)

PROBLEM = {
    "type": "https://example.org/problems/invalid-volume",
    "title": "A file is not a usable volume",
    "status": 422,
    "detail": "the volume has four dimensions",
    "remedy": "Give one volume",
    "part": "t1",
}


def test_models_are_listed_and_unknown_keys_ignored(
    peer: Any, call: Any, reply: Any, model: dict[str, Any]
) -> None:
    peer.says("/v1/models", reply(body=json.dumps({"models": [model]}).encode()))
    (found,) = call(peer.url, "models")
    assert isinstance(found, Model)
    assert (found.name, found.versions, found.demo) == ("tumour", ("1", "2"), True)
    assert [channel.required for channel in found.channels] == [True, False]


def test_one_model_is_asked_for_by_name_and_version(
    peer: Any, call: Any, reply: Any, model: dict[str, Any]
) -> None:
    peer.says("/v1/models/tumour", reply(body=json.dumps(model).encode()))
    assert call(peer.url, "model", "tumour", "2").outputs[0].name == "core"
    call(peer.url, "model", "tumour")
    assert [request.query for request in peer.requests] == [{"version": ["2"]}, {}]


def test_a_model_tells_what_a_study_could_not_decide_by_its_series_and_their_filling(
    model: dict[str, Any],
) -> None:
    left = {"output": "core", "title": "core", "reason": "it needs t1c, which the study lacks"}
    open_ = {"real": ["t1", "t2"], "fills": ["center"], "outputs": [left]}
    told = Model.model_validate({**model, "fill": "center", "open_with": [open_]})
    (one,) = told.not_determinable(["t2", "t1"])
    assert one.output == "core" and "t1c" in one.reason
    assert told.not_determinable(["t1", "t2"], "zeros") == ()
    assert told.not_determinable(["t1"]) == ()


def test_summary_keeps_every_number(peer: Any, call: Any, study: dict[str, Path]) -> None:
    peer.serves_results()
    found = call(peer.url, "predict", "tumour", study)
    assert isinstance(found, Summary)
    (structure,) = found.structures
    assert (structure.volume_ml, structure.voxels, structure.components) == (12.345, 12345, 3)
    first, second = structure.parts
    assert (first.number, first.side, first.to_surface_mm) == (1, "left", 4.25)
    assert (second.volume_ml, second.size.product_mm2) == (0.3, 712.78)
    assert structure.size == first.size
    assert structure.bounding_box_mm == ((0, 0, 0), (4, 5, 12))
    assert (found.real[0].shape, found.filled[0].policy) == ((4, 5, 6), "center")
    assert found.seconds == {"read": 0.1, "infer": 2.5}
    assert found.expected_quality[0].value == 0.83


def test_answers_cannot_be_changed(summary: dict[str, Any]) -> None:
    found = Summary.model_validate(summary)
    with pytest.raises(ValidationError, match="frozen"):
        found.demo = False


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False), (404, False)])
def test_ready_means_200(peer: Any, call: Any, reply: Any, status: int, ready: bool) -> None:
    peer.says("/health/ready", reply(status))
    assert call(peer.url, "ready") is ready


def test_server_that_is_not_there_is_not_ready_and_a_named_error(call: Any, nowhere: str) -> None:
    assert call(nowhere, "ready") is False
    with pytest.raises(ServerUnreachable) as caught:
        call(nowhere, "models")
    assert str(caught.value).startswith(f"{nowhere}: cannot be reached (")
    assert "brainmvp serve" in caught.value.remedy


def test_problem_json_becomes_a_refusal_with_all_its_fields(
    peer: Any, call: Any, reply: Any, study: dict[str, Path]
) -> None:
    body = json.dumps(PROBLEM).encode()
    peer.says("application/json", reply(422, "application/problem+json; charset=utf-8", body))
    with pytest.raises(Refused) as caught:
        call(peer.url, "predict", "tumour", study)
    error = caught.value
    assert (error.status, error.title, error.detail) == (422, PROBLEM["title"], PROBLEM["detail"])
    assert (error.remedy, error.part) == ("Give one volume", "t1")
    assert str(error) == "t1: the volume has four dimensions. Give one volume."


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/html", b"<h1>no</h1>"), ("application/problem+json", b"[1"), ("", b"")],
)
def test_refusal_without_a_reason_still_names_server_status_and_remedy(
    peer: Any, call: Any, reply: Any, kind: str, body: bytes
) -> None:
    peer.says("/v1/models", reply(404, kind, body))
    with pytest.raises(Refused) as caught:
        call(peer.url, "models")
    assert caught.value.status == 404
    assert str(caught.value) == (
        f"{peer.url}: refused the request (HTTP 404). "
        "Check the server's address and the model's name."
    )


def test_server_fault_says_when_to_come_back(peer: Any, call: Any, reply: Any) -> None:
    peer.says("/v1/models", reply(503, headers={"Retry-After": "7"}))
    with pytest.raises(ServerFault, match=r"failed \(HTTP 503\)\. Try again in 7 s\.") as caught:
        call(peer.url, "models")
    assert (caught.value.status, caught.value.retry_after) == (503, 7.0)


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<h1>Welcome</h1>"),
        (200, "application/json", b"{"),
        (200, "application/json", b'{"models": [{}]}'),
        (200, "application/json", b"\xff\xfe"),
        (307, "text/html", b""),
    ],
    ids=["html", "half", "wrong", "no-text", "redirect"],
)
def test_answer_of_another_kind_of_server_is_said_to_be_one(
    peer: Any, call: Any, reply: Any, status: int, kind: str, body: bytes
) -> None:
    peer.says("/v1/models", reply(status, kind, body))
    with pytest.raises(UnexpectedAnswer) as caught:
        call(peer.url, "models")
    assert caught.value.subject == peer.url
    assert "\n" not in str(caught.value)


def test_text_without_end_is_not_collected(
    peer: Any, call: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainmvp_clients.wire.MAX_TEXT", 100_000)
    peer.says("/v1/models", reply(body=b" " * 5_000_000))
    with pytest.raises(UnexpectedAnswer, match="text of more than"):
        call(peer.url, "models")


def test_cut_answer_is_a_broken_connection(peer: Any, call: Any, reply: Any) -> None:
    peer.says("/v1/models", reply(body=b'{"models"', length=1000))
    with pytest.raises(ServerUnreachable, match="broke off the connection"):
        call(peer.url, "models")


def test_server_that_hangs_up_during_the_upload_is_an_error_of_ours(
    peer: Any, call: Any, reply: Any, tmp_path: Path
) -> None:
    path = tmp_path / "t1.nii"
    path.write_bytes(bytes(20 << 20))
    peer.says("application/json", reply(413, read_body=False))
    with pytest.raises(ClientError):
        call(peer.url, "predict", "tumour", {"t1": path})


def test_slow_server_is_an_error_within_the_timeout() -> None:
    def sleep(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    with (
        Client(transport=httpx.MockTransport(sleep)) as client,
        pytest.raises(ServerUnreachable, match="did not answer in time"),
    ):
        client.models()
