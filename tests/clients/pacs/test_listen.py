"""``brainmvp dicom-listen`` behind a real Orthanc with the kit of ``clients/orthanc``."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import MRImageStorage, Verification

from brainmvp_clients.pacs.dimse import Caller, Dimse, Peer
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.pacs.transfer import Instance, PacsRefused
from brainmvp_clients.score.retry import Unavailable
from certificates import Certificates, certificates
from dicom_studies import PLANTED
from dicom_studies import Study as Written
from orthanc import KIT, Orthanc, kit, orthanc
from ports import free_port

SECONDS = 60


def _until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@contextmanager
def _listening(
    out: Path, server: str, *arguments: object, port: int = 0
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The listener as a process of its own, and its port."""
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "dicom-listen", "tumour", "--out", out,
        "--server", server, "--port", port, "--quiet-for", 1, *arguments,
    ]  # fmt: skip
    with (out.parent / "listener.log").open("a") as log:
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+)$", line.strip())
        assert found, (out.parent / "listener.log").read_text()
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def scoring(peer: Any, reply: Any, model: Any) -> Any:
    """The peer, serving the model 'tumour' and a result for every study."""
    peer.serves_results()
    peer.says("/v1/models/tumour", reply(body=json.dumps(model).encode()))
    return peer


@pytest.fixture
def routed(program: Callable[[str], Path], tmp_path: Path) -> Iterator[tuple[Orthanc, int]]:
    """An Orthanc with the kit's configuration and route, and the port that it sends to."""
    port = free_port()
    with orthanc(program, tmp_path / "orthanc", **kit(port)) as running:
        yield running, port


def test_the_kit_starts_beside_what_debian_installs(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    """As the kit's README says: its two files in Debian's folder."""
    folder = shutil.copytree("/etc/orthanc", tmp_path / "etc")
    (folder / "brainmvp.lua").write_text((KIT / "brainmvp.lua").read_text())
    http, text = free_port(), (KIT / "orthanc.json").read_text()
    text = text.replace("/etc/orthanc", str(folder)).replace("/var/lib/orthanc", str(tmp_path))
    ports = f'"HttpPort": {http}, "DicomPort": {free_port()},'
    (folder / "orthanc.json").write_text(text.replace("{", "{" + ports, 1))
    url = f"http://127.0.0.1:{http}"
    with subprocess.Popen([program("Orthanc"), folder], stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    answer = httpx.get(
                        f"http://127.0.0.1:{http}/dicom-web/studies", trust_env=False
                    )
                    break
                except httpx.TransportError:
                    assert process.poll() is None and time.monotonic() < deadline
                    time.sleep(0.1)
            assert answer.status_code == 200 and answer.json() == []
            modalities = httpx.get(f"{url}/modalities", trust_env=False).json()
            assert modalities == ["brainmvp"]
        finally:
            process.terminate()


def _predictions(peer: Any) -> int:
    return sum(request.path.endswith("/predict") for request in peer.requests)


def _rows(out: Path) -> list[Any]:
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _send(port: int, files: tuple[Path, ...], **caller: Any) -> None:
    """Store images as a modality would."""
    target = Dimse(Peer("BRAINMVP", "127.0.0.1", port), Caller(**caller))
    instances = tuple(Instance(path, "", "", "", MRImageStorage, "1.2.840.10008.1.2.1")
                      for path in files)  # fmt: skip
    # The listener answers no query, so nothing can be confirmed.
    target._there = lambda _: True  # type: ignore[method-assign]
    target.store(instances)


def test_the_kit_routes_a_study_that_is_scored_once_though_the_listener_is_killed(
    routed: tuple[Orthanc, int], scoring: Any, dicom_files: tuple[Written, ...], tmp_path: Path
) -> None:
    running, port = routed
    out, study = tmp_path / "out", dicom_files[1]
    images = len(study.files)
    allow = ("--allow", "ORTHANC")

    def spooled() -> int:
        return len(list((out / "spool").rglob("*.dcm")))

    with _listening(out, scoring.url, *allow, "--quiet-for", 3600, port=port) as (process, _):
        running.add(study.files)
        _until(lambda: spooled() == images, "every MR series arrives")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert _predictions(scoring) == 0
    with _listening(out, scoring.url, *allow, port=port) as (process, _):
        _until(lambda: len(_rows(out)) == 1, "what came before the kill is scored")
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert _predictions(scoring) == 1
    (row,) = _rows(out)
    assert (row["study"], row["state"]) == (study.uid, "done")
    log = (tmp_path / "listener.log").read_text()
    assert row["token"] in log
    for word in (*PLANTED, study.uid):
        assert word not in log
    with _listening(out, scoring.url, *allow, port=port):
        time.sleep(2.5)
    assert _predictions(scoring) == 1


def test_late_images_make_the_study_be_scored_again_whole(
    scoring: Any, dicom_files: tuple[Written, ...], tmp_path: Path
) -> None:
    out, files = tmp_path / "out", dicom_files[0].files
    with _listening(out, scoring.url, "--anyone", "--quiet-for", 3) as (_, port):
        _send(port, files[:5])
        _until(lambda: _predictions(scoring) == 1, "the first images are scored")
        first = scoring.requests[-1].length
        _send(port, files[5:])
        _until(lambda: _predictions(scoring) == 2, "all are scored")
    assert scoring.requests[-1].length > 2 * first


def test_a_busy_server_does_not_lose_a_study(
    scoring: Any, reply: Any, dicom_files: tuple[Written, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    scoring.says("application/zip", reply(503, "application/problem+json", b'{"status": 503}'))
    with _listening(out, scoring.url, "--anyone") as (_, port):
        _send(port, dicom_files[0].files[:3])
        _until(lambda: _predictions(scoring) >= 1, "it is sent")
        scoring.serves_results()
        _until(lambda: any(row["state"] == "done" for row in _rows(out)), "it is done")


def test_only_titles_of_the_list_may_send(
    scoring: Any, dicom_files: tuple[Written, ...], tmp_path: Path
) -> None:
    with _listening(tmp_path / "out", scoring.url, "--allow", "GOOD") as (_, port):
        with pytest.raises(PacsRefused):
            _send(port, dicom_files[0].files[:1], title="EVIL")
        _send(port, dicom_files[0].files[:1], title="GOOD")
    assert len(list((tmp_path / "out" / "spool").rglob("*.dcm"))) == 1


def test_nobody_may_send_unless_somebody_is_named(brainmvp: Any, tmp_path: Path) -> None:
    code, _, err = brainmvp("dicom-listen", "tumour", "--out", tmp_path / "out")
    assert code == 2 and "--allow" in err


def test_other_objects_than_mr_are_not_taken(scoring: Any, tmp_path: Path) -> None:
    with _listening(tmp_path / "out", scoring.url, "--anyone") as (_, port):
        entity = AE()
        entity.requested_contexts = [
            build_context("1.2.840.10008.5.1.4.1.1.2"), build_context(Verification),
        ]  # fmt: skip
        association = entity.associate("127.0.0.1", port, ae_title="BRAINMVP")
        assert [c.abstract_syntax for c in association.accepted_contexts] == [Verification]
        assert association.send_c_echo().Status == 0
        association.release()


@pytest.fixture
def pem(program: Callable[[str], Path], tmp_path: Path) -> Certificates:
    return certificates(program, tmp_path / "pem")


def test_over_tls_only_peers_with_a_certificate_of_the_authority_may_send(
    scoring: Any, dicom_files: tuple[Written, ...], pem: Certificates,
    program: Callable[[str], Path], tmp_path: Path,
) -> None:  # fmt: skip
    other = certificates(program, tmp_path / "other")
    files = ("--ca", pem.ca, "--cert", pem.cert, "--key", pem.key)
    image = dicom_files[0].files[:1]
    with _listening(
        tmp_path / "out", scoring.url, "--anyone", "--dimse-tls", *files, "--quiet-for", 3600
    ) as (_, port):
        for tls in (None, Tls(ca=pem.ca), Tls(pem.ca, other.cert, other.key), Tls(ca=other.ca)):
            with pytest.raises((Unavailable, PacsRefused)):
                _send(port, image, tls=tls)
        _send(port, image, tls=Tls(pem.ca, pem.cert, pem.key))
    assert len(list((tmp_path / "out" / "spool").rglob("*.dcm"))) == 1
