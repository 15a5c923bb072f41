"""What a client writes in the wrong place or misspells: told, never left out without a word."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

import pytest

from .conftest import Service
from .test_bad_input import image, refused

PREDICT, JOBS = "/v1/models/tiny/predict", "/v1/jobs"
IDENTIFY, MODEL = "/v1/studies/identify", "/v1/models/tiny"

# Method, address, and words of the answer.
QUERIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("POST", f"{PREDICT}?fil=zeros", ("no parameter 'fil'", "Did you mean fill?")),
    ("POST", f"{PREDICT}?FILL=zeros", ("'FILL'", "Did you mean fill?")),
    ("POST", f"{PREDICT}?fill=zeros&fill=grid", ("'fill' is given 2 times", "once")),
    ("POST", f"{PREDICT}?resampel=true", ("Did you mean resample?",)),
    ("POST", f"{PREDICT}?zzzz=1", ("'zzzz'", "This call takes", "fill", "resample")),
    ("POST", f"{PREDICT}?channels=true", ("'channels'",)),
    ("POST", f"{PREDICT}?space=banana", ("'banana' is no series", "Choose one of: flair", "model")),
    ("POST", f"{IDENTIFY}?bvalue=800", ("Did you mean b_value?",)),
    ("POST", f"{IDENTIFY}?fill=zeros", ("'fill'", "assign, b_value")),
    ("GET", f"{MODEL}?ver=1", ("Did you mean version?",)),
    ("GET", "/v1/models?version=1", ("'version'", "takes no parameter")),
    ("GET", "/health/live?now=1", ("'now'", "takes no parameter")),
    ("GET", "/metrics?name=x", ("'name'",)),
)


@pytest.mark.parametrize(("method", "address", "words"), QUERIES, ids=[q[1] for q in QUERIES])
def test_an_unknown_or_repeated_parameter_is_refused_with_the_nearest_name(
    service: Service, method: str, address: str, words: tuple[str, ...]
) -> None:
    files = {"t1": image().to_bytes()} if method == "POST" else None
    answer = service.http.request(method, address, files=files)
    refused(answer, 422, "invalid-query", *words)


def test_every_call_of_the_document_has_the_rule_and_says_so(service: Service) -> None:
    """A new route has it without doing anything."""
    document = service.http.get("/openapi.json").json()
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            assert "422" in call["responses"], path
            filled = path.replace("{", "").replace("}", "")
            answer = service.http.request(method.upper(), f"{filled}?no-such-word=1")
            refused(answer, 422, "invalid-query", "no-such-word")


@pytest.mark.parametrize("others", [(), ("files",)], ids=["alone", "beside files"])
def test_a_part_that_is_named_by_its_modality_is_not_passed_over_where_parts_are_identified(
    service: Service, others: tuple[str, ...]
) -> None:
    body = image().to_bytes()
    files = [(name, (f"{name}.nii", body)) for name in (*others, "t1")]
    answer = service.http.post(IDENTIFY, files=files)
    refused(answer, 422, "nothing-identified", "t1", "Call it files")


def test_what_may_be_given_again_still_may(service: Service) -> None:
    address = f"{IDENTIFY}?assign=file 1:t1&assign=file 2:none"
    body = image().to_bytes()
    files = [("files", ("a.nii", body)), ("files", ("b.nii", body))]
    assert service.http.post(address, files=files).status_code == 200


def test_the_page_is_no_call_and_takes_what_a_link_adds(service: Service) -> None:
    assert service.http.get("/?from=mail").status_code == 200


def scan() -> bytes:
    return image().to_bytes()


FORM = "multipart/form-data"

# What was sent, the status and kind of the answer, and words of it: always what to do instead.
UPLOADS: dict[str, tuple[Mapping[str, Any], int, str, tuple[str, ...]]] = {
    "an option as a field": (
        {"files": {"t1": scan()}, "data": {"fill": "zeros"}},
        422, "invalid-query", ("'fill'", "?fill=VALUE"),
    ),
    "an option misspelt as a field": (
        {"files": {"t1": scan()}, "data": {"fil": "zeros"}},
        422, "unknown-modality", ("'fil'", "Did you mean fill", "?fill=VALUE"),
    ),
    "a modality misspelt": (
        {"files": {"flare": scan()}}, 422, "unknown-modality", ("Did you mean flair?",),
    ),
    "files[]": (
        {"files": {"files[]": scan()}}, 422, "unknown-modality", ("Call the part 'files'",),
    ),
    "t1[]": ({"files": {"t1[]": scan()}}, 422, "unknown-modality", ("Call the part 't1'",)),
    "file": ({"files": {"file": scan()}}, 422, "unknown-modality", ("Call the part 'files'",)),
    "two brain masks": (
        {"files": [("t1", scan()), ("brain", scan()), ("brain", scan())]},
        400, "malformed-upload", ("'brain' came twice",),
    ),
    "no modality": (
        {"files": {"t7": scan()}}, 422, "unknown-modality", ("'t7'", "flair", "files"),
    ),
    "no boundary": (
        {"content": b"x", "headers": {"content-type": FORM}},
        415, "unsupported-content-type", ("boundary", "Set no Content-Type yourself"),
    ),
    "related without a boundary": (
        {"content": b"x",
         "headers": {"content-type": 'multipart/related; type="application/dicom"'}},
        415, "unsupported-content-type", ("boundary",),
    ),
    "a form of text": (
        {"data": {"t1": "t1.nii.gz"}}, 415, "unsupported-content-type", ("-F t1=@t1.nii.gz",),
    ),
    "the bare file": (
        {"content": scan(), "headers": {"content-type": "application/gzip"}},
        415, "unsupported-content-type", ("-F t1=@t1.nii.gz",),
    ),
    "compressed as a whole": (
        {"content": gzip.compress(b"--b--\r\n"),
         "headers": {"content-type": f"{FORM}; boundary=b", "content-encoding": "gzip"}},
        415, "unsupported-content-type", ("Content-Encoding", ".nii.gz"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("sent", UPLOADS)
def test_an_upload_of_another_form_is_told_what_to_do_instead(service: Service, sent: str) -> None:
    request, status, code, words = UPLOADS[sent]
    refused(service.predict(**request), status, code, *words)
