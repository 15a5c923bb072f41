"""Everything a client can get wrong: the status, a problem that names it, and a service that lives.

One test owns the form of every error: ``refused``.
"""

from __future__ import annotations

import gzip
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest

from .conftest import UPLOAD_LIMIT, Service

Edit = Callable[[nib.Nifti1Image], nib.Nifti1Image]
SHAPE = (24, 24, 24)


def refused(answer: httpx.Response, status: int, code: str, *words: str) -> None:
    """The answer is that problem, in the form of RFC 9457, and says these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:brainmvp:problem:{code}"
    assert problem["title"] and problem["detail"] and problem["remedy"]
    for word in words:
        assert word in problem["detail"] + " " + problem["remedy"]
    assert not any(word in answer.text for word in ("Traceback", ".py", "/tmp"))


def image(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> nib.Nifti1Image:
    voxels = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))


def with_voxel(value: float) -> bytes:
    voxels = np.asarray(image().dataobj).copy()
    voxels[1, 2, 3] = value
    return nib.Nifti1Image(voxels, image().affine).to_bytes()


def with_header(**fields: object) -> bytes:
    """A valid file whose header is then changed byte by byte."""
    whole = image()
    body = whole.to_bytes()
    header = whole.header.copy()
    for name, value in fields.items():
        header[name] = value
    return bytes(header.binaryblock) + body[348:]


FILES: dict[str, tuple[Callable[[], bytes], str, int]] = {
    "empty": (lambda: b"", "empty", 422),
    "text": (lambda: b"this is a letter, not a scan" * 20, "not a NIfTI", 422),
    "truncated gzip": (lambda: gzip.compress(image().to_bytes())[:-2000], "ends early", 422),
    "damaged gzip": (
        lambda: gzip.compress(image().to_bytes())[:-8] + b"\0" * 8,
        "damaged",
        422,
    ),
    "truncated": (lambda: image().to_bytes()[:-100], "ends early", 422),
    "gzip bomb": (
        lambda: gzip.compress(
            nib.Nifti1Image(np.zeros((128, 128, 128), np.uint8), np.eye(4)).to_bytes()
        ),
        "more than any scan packs",
        422,
    ),
    "bomb that is no scan": (lambda: zlib_bomb(), "not a NIfTI", 422),
    "30000 cubed": (lambda: with_header(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), "30000", 413),
    "four-dimensional": (lambda: image((8, 8, 8, 5)).to_bytes(), "4-dimensional", 422),
    "NaN": (lambda: with_voxel(np.nan), "NaN or infinite", 422),
    "infinity": (lambda: with_voxel(np.inf), "NaN or infinite", 422),
    "all zeros": (
        lambda: nib.Nifti1Image(np.zeros(SHAPE, np.int16), image().affine).to_bytes(),
        "zero",
        422,
    ),
    "two slices": (
        lambda: image((24, 24, 2)).to_bytes(),
        "48 × 48 × 4 mm, thinner than the 15 mm",
        422,
    ),
    "a cube of 12 mm": (lambda: image((6, 6, 6)).to_bytes(), "least_field_mm", 422),
    "singular affine": (
        lambda: with_header(sform_code=1, srow_x=[0, 0, 0, 0], qform_code=0),
        "singular",
        422,
    ),
}


def zlib_bomb() -> bytes:
    """A gigabyte of zeros as one megabyte of gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    packed = [packer.compress(piece) for _ in range(1024)]
    return b"".join(packed) + packer.flush()


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused_with_its_part_and_reason(service: Service, name: str) -> None:
    make, reason, status = FILES[name]
    answer = service.predict(files={"t1": ("x.nii.gz", make())})
    code = "volume-too-large" if status == 413 else "invalid-volume"
    refused(answer, status, code, "t1", reason)
    assert answer.json()["part"] == "t1"
    assert service.http.get("/health/ready").status_code == 200


def test_grids_that_disagree_are_refused(service: Service) -> None:
    files = {"t1": image().to_bytes(), "flair": image((24, 24, 20)).to_bytes()}
    refused(service.predict(files=files), 422, "grid-mismatch", "flair", "t1", "Resample")
    moved = nib.Nifti1Image(np.asarray(image().dataobj), np.diag([2.0, 2, 2, 1]) + 0.0)
    moved.affine[0, 3] = 5
    files = {"t1": image().to_bytes(), "flair": moved.to_bytes()}
    refused(service.predict(files=files), 422, "grid-mismatch", "mm from t1")


def test_a_modality_sent_twice_is_refused_also_under_an_alias(service: Service) -> None:
    body = image().to_bytes()
    for second in ("t1c", "T1C", "t1ce"):
        answer = service.predict(files=[("t1c", body), (second, body)])
        refused(answer, 422, "duplicate-modality", "t1c")


def test_unknown_modalities_are_refused(service: Service) -> None:
    body = image().to_bytes()
    refused(service.predict(files={"t9": body}), 422, "unknown-modality", "t9", "flair")
    refused(service.predict(files={"mra": body}), 422, "unknown-modality", "mra", "It takes")
    strange = service.predict(files={"\x00<script>" + "a" * 500: body})
    refused(strange, 422, "unknown-modality")
    assert len(strange.json()["detail"]) < 100


def test_too_few_modalities_for_the_policy_are_refused(service: Service) -> None:
    answer = service.predict(params={"fill": "none"}, files={"t1": image().to_bytes()})
    refused(answer, 422, "missing-modality", "t1c, t2, flair")
    empty = service.predict(
        content=b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
    )
    refused(empty, 400, "malformed-upload", "no file")


def test_a_missing_template_is_refused_with_the_remedy(service: Service) -> None:
    answer = service.predict(params={"fill": "center"}, files={"t1": image().to_bytes()})
    refused(answer, 422, "template-mismatch", "no template for t1c", "zeros")


def test_a_profile_without_a_proof_is_refused_with_the_command_that_makes_one(
    service: Service,
) -> None:
    answer = service.predict(params={"profile": "speed"}, files={"t1": image().to_bytes()})
    refused(answer, 422, "not-proved", "tiny/1", "brainmvp prove --profile speed")
    unknown = service.predict(params={"profile": "fast"}, files={"t1": image().to_bytes()})
    refused(unknown, 422, "invalid-query", "profile", "speed")


def test_unknown_models_and_versions_are_not_found(service: Service) -> None:
    files = {"t1": image().to_bytes()}
    refused(service.predict("nope", files=files), 404, "unknown-model", "nope", "tiny")
    answer = service.predict("tiny", params={"version": "7"}, files=files)
    refused(answer, 404, "unknown-model", "7")
    refused(service.http.get("/v1/models/nope"), 404, "unknown-model")


def test_a_bundle_with_a_wrong_digest_is_refused_by_name_and_others_served(
    service: Service,
) -> None:
    refused(service.predict("broken", files={"t1": image().to_bytes()}), 404, "unknown-model")
    models = service.http.get("/v1/models").json()
    assert [model["name"] for model in models["models"]] == ["grade", "tiny"]
    (broken,) = models["refused"]
    assert broken["name"] == "broken/1" and "model.onnx" in broken["problem"]


def test_wrong_methods_are_answered_with_the_right_one(service: Service) -> None:
    answer = service.http.get("/v1/models/tiny/predict")
    refused(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "multipart/mixed"])
def test_other_content_types_are_refused(service: Service, kind: str) -> None:
    answer = service.predict(content=b"{}", headers={"content-type": kind})
    refused(answer, 415, "unsupported-content-type", "multipart/form-data")


@pytest.mark.parametrize("body", [b"", b"nonsense", b"--b\r\n\r\n", b"--b\r\nA: b\r\n\r\ndata"])
def test_malformed_multipart_is_refused(service: Service, body: bytes) -> None:
    answer = service.predict(
        content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_upload_over_the_limit_is_refused_whether_it_says_its_size_or_not(
    service: Service,
) -> None:
    body = bytes(UPLOAD_LIMIT + 1)
    refused(service.predict(files={"t1": body}), 413, "upload-too-large", "4 MB")

    def pieces():  # type: ignore[no-untyped-def]
        yield b'--b\r\nContent-Disposition: form-data; name="t1"\r\n\r\n'
        for _ in range(5):
            yield bytes(1 << 20)

    answer = service.predict(
        content=pieces(), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    refused(answer, 413, "upload-too-large", "4 MB")


def test_an_answer_nobody_can_give_is_not_acceptable(service: Service, scan: Path) -> None:
    answer = service.predict(
        files={"t1": image().to_bytes()}, headers={"accept": "application/pdf"}
    )
    refused(answer, 406, "not-acceptable", "application/json")
    answer = service.predict(params={"probabilities": True}, files={"t1": image().to_bytes()})
    refused(answer, 406, "not-acceptable", "zip")


def test_bad_query_values_are_named(service: Service) -> None:
    answer = service.predict(params={"fill": "magic"}, files={"t1": image().to_bytes()})
    refused(answer, 422, "invalid-query", "fill", "zeros")


def test_unknown_paths_are_not_found(service: Service) -> None:
    refused(service.http.get("/v2/anything"), 404, "not-found")


def test_a_client_that_leaves_mid_upload_leaves_nothing(service: Service) -> None:
    url = service.http.base_url
    with httpx.Client(base_url=url) as other:

        def pieces():  # type: ignore[no-untyped-def]
            yield b'--b\r\nContent-Disposition: form-data; name="t1"\r\n\r\n' + bytes(1 << 16)
            # A service that has not looked at the request yet has nothing of it that could be left.
            deadline = time.monotonic() + 60
            while not list(service.scratch.glob("*/t1")):
                assert time.monotonic() < deadline, "the upload is not written as it comes"
                time.sleep(0.01)
            raise KeyError("gone")

        with pytest.raises(KeyError):
            other.post(
                "/v1/models/tiny/predict",
                content=pieces(),
                headers={"content-type": "multipart/form-data; boundary=b"},
            )
    assert service.http.get("/health/live").status_code == 200


def test_a_header_with_impossible_numbers_is_refused(service: Service) -> None:
    for offset in (1e30, -5.0, float("nan")):
        body = bytearray(image().to_bytes())
        body[108:112] = struct.pack("<f", offset)
        answer = service.predict(files={"t1": bytes(body)})
        refused(answer, 422, "invalid-volume", "t1")
