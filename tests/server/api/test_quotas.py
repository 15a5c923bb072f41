"""Quotas over HTTP: what counts, what does not, and what a caller is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from brainmvp_server.api.app import create_app
from brainmvp_server.api.caller import OwnLimits, Scope
from brainmvp_server.api.security.keys import KeyFile, new_key
from brainmvp_server.settings import Settings

from .conftest import running
from .test_bad_input import refused

SCOPES = (Scope.PREDICT, Scope.JOBS, Scope.ADMIN)
BAD = {"t1": ("t1.nii.gz", b"no volume")}


@dataclass(frozen=True)
class Callers:
    """A service's file of keys, and the keys of its callers."""

    file: Path
    keys: dict[str, str]

    def headers(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[name]}"}


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    """``two`` may have what the service says, ``free`` anything, ``little`` one MiB a day."""
    own = {"two": None, "free": OwnLimits(0, 0), "little": OwnLimits(None, 1)}
    made = {name: new_key(f"site-{name}", SCOPES, limits=limits) for name, limits in own.items()}
    KeyFile(keys=tuple(record for _, record in made.values())).write(tmp_path / "keys.json")
    return Callers(tmp_path / "keys.json", {name: key for name, (key, _) in made.items()})


@contextmanager
def limited(models: Path, folder: Path, callers: Callers) -> Iterator[httpx.Client]:
    """A service of two studies an hour for a key, which counts in its jobs' database."""
    settings = Settings.of(
        models=models, keys_file=callers.file, key_studies_per_hour=2, role="api", warm_up=False,
        jobs_storage=str(folder / "jobs"), scratch=folder,
    )  # fmt: skip
    with running(create_app(settings)) as http:
        yield http


def left(answer: httpx.Response, quota: str = "studies") -> int:
    found = re.search(rf'"{quota}";r=(\d+);t=\d+', answer.headers["ratelimit"])
    assert found is not None, answer.headers
    return int(found[1])


def test_studies_that_ran_count_for_their_key_alone_and_over_a_restart(
    swift_models: Path, tmp_path: Path, small_study: Path, callers: Callers
) -> None:
    study = {"t1": small_study.read_bytes()}

    def asks(http: httpx.Client, call: str, name: str, **files: object) -> httpx.Response:
        return http.post(
            f"/v1/{call}",
            files=files or study,
            params={"fill": "zeros"} if call.startswith("models") else {},
            headers=callers.headers(name),
        )

    predict, job = "models/swift/predict", "models/swift/jobs"
    with limited(swift_models, tmp_path, callers) as http:
        bad = asks(http, predict, "two", **BAD)
        refused(bad, 422, "invalid-volume")
        assert left(bad) == 2, "what is refused for its own fault is no study"
        looked = asks(http, "studies/identify", "two", files=small_study.read_bytes())
        assert looked.status_code == 200 and "ratelimit" not in looked.headers
        words = {**callers.headers("two"), "idempotency-key": "same"}
        for _ in range(2):
            posted = http.post(f"/v1/{job}?fill=zeros", files=study, headers=words)
            assert posted.status_code == 202 and left(posted) == 1, "the same job is no study"
        done = asks(http, predict, "two")
        assert done.status_code == 200 and left(done) == 0
        assert done.headers["ratelimit-policy"] == '"studies";q=2;w=3600'
    with limited(swift_models, tmp_path, callers) as http:
        for call in (predict, job, "compare"):
            over = asks(http, call, "two")
            refused(over, 429, "quota-exceeded", "studies")
            assert re.match(r"Send it again in \d\d min", over.json()["remedy"])
            window = re.search(r"t=(\d+)", over.headers["ratelimit"])
            assert window is not None
            assert 3600 >= int(over.headers["retry-after"]) - 60 >= int(window[1]) - 60 > 0
        assert http.get("/v1/jobs", headers=callers.headers("two")).status_code == 200
        other = asks(http, predict, "free")
        assert other.status_code == 200 and "ratelimit" not in other.headers
        metrics = http.get("/metrics", headers=callers.headers("free")).text
        assert 'brainmvp_quota_refused_total{quota="studies"} 3.0' in metrics
        assert "site-" not in metrics


def test_bytes_count_whatever_becomes_of_them_and_what_did_not_come_does_not(
    swift_models: Path, tmp_path: Path, callers: Callers
) -> None:
    kilobytes_600 = {"t1": ("t1.nii.gz", bytes(600 << 10))}
    head = {**callers.headers("little"), "content-type": "multipart/form-data; boundary=b"}

    def pieces(count: int) -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="t1"; filename="t1"\r\n\r\n'
        for _ in range(count):
            yield bytes(100 << 10)

    with limited(swift_models, tmp_path, callers) as http:
        url = "/v1/models/swift/predict"
        larger = http.post(url, files={"t1": bytes(2 << 20)}, headers=callers.headers("little"))
        refused(larger, 413, "upload-too-large", "in a day")
        first = http.post(url, files=kilobytes_600, headers=callers.headers("little"))
        refused(first, 422, "invalid-volume")
        assert 'qu="content-bytes"' in first.headers["ratelimit-policy"]
        assert 423 << 10 < left(first, "bytes") < 424 << 10 and left(first) == 2
        again = http.post(url, files=kilobytes_600, headers=callers.headers("little"))
        refused(again, 429, "quota-exceeded", "1 MiB")
        assert left(again, "bytes") == left(first, "bytes")
        # Without a Content-Length, what comes is bounded by what is left, and only that is taken.
        cut = http.post(url, content=pieces(1), headers=head)
        refused(cut, 400, "malformed-upload")
        assert 323 << 10 < left(cut, "bytes") < 324 << 10
        refused(http.post(url, content=pieces(9), headers=head), 429, "quota-exceeded")
