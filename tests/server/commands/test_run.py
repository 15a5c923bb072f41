"""`brainmvp serve` as a process: TLS, limits of a request's head, and what it writes down."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import io
import json
import os
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from brainmvp_server.api.caller import Scope
from brainmvp_server.api.security.keys import KeyFile, new_key
from dicom_studies import PLANTED as DICOM_PLANTED
from dicom_studies import write_study

COMMAND = [sys.executable, "-m", "brainmvp_clients.cli", "serve", "--port", "0"]
PASSWORD = "correct horse"


@dataclass
class Process:
    """A running service: its address, and everything it has printed."""

    address: str = ""
    lines: list[str] = field(default_factory=list)


@contextmanager
def serving(*arguments: object) -> Iterator[Process]:
    process = Process()
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        out = server.stdout
        for line in out:
            process.lines.append(line)
            if line.startswith("listening on "):
                process.address = line.split()[-1]
                break
        reader = threading.Thread(target=lambda: process.lines.extend(out))
        reader.start()
        try:
            assert process.address, "".join(process.lines)
            yield process
        finally:
            server.terminate()
            server.wait(180)
            reader.join()


@dataclass(frozen=True)
class Certificate:
    cert: Path
    key: Path
    password: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate of 127.0.0.1, its key encrypted."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "brainmvp")])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "password")
    made.cert.write_bytes(cert.public_bytes(pem))
    made.key.write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSWORD.encode()),
        )
    )
    made.password.write_text(PASSWORD + "\n")
    return made


def test_it_speaks_https_with_an_encrypted_key_whose_password_is_shown_nowhere(
    bundles: Path, certificate: Certificate
) -> None:
    arguments = [
        "--models", bundles, "--tls-cert", certificate.cert, "--tls-key", certificate.key,
        "--tls-key-password-file", certificate.password,
    ]  # fmt: skip
    shown = subprocess.run(
        [*COMMAND, *map(str, arguments), "--print-config"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert PASSWORD not in shown and 'tls_key_password = "**********"' in shown
    with serving(*arguments) as process:
        trust = ssl.create_default_context(cafile=str(certificate.cert))
        with httpx.Client(base_url=process.address, verify=trust, timeout=60) as http:
            answer = http.get("/health/live")
        assert process.address.startswith("https://")
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        with pytest.raises(httpx.HTTPError):
            httpx.get(process.address.replace("https", "http") + "/health/live", timeout=60)
    assert PASSWORD not in "".join(process.lines)


@pytest.mark.parametrize("fault", ["password", "key", "port"])
def test_what_cannot_be_listened_on_is_one_line_and_exit_code_2(
    bundles: Path, certificate: Certificate, tmp_path: Path, fault: str
) -> None:
    arguments: list[object] = ["--models", bundles, "--tls-cert", certificate.cert]
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    if fault == "password":
        arguments += ["--tls-key", certificate.key, "--tls-key-password-file", wrong]
    elif fault == "key":
        arguments += ["--tls-key", wrong]
    else:
        arguments = ["--models", bundles, "--host", "192.0.2.1", "--no-auth"]
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "certificate" in done.stderr or "listened on" in done.stderr


PLANTED = ("Doe", "Jane", "19700101", "MRN4711", *DICOM_PLANTED)
NAME = "Doe^Jane_19700101_MRN4711"


def scan(damage: bool = False) -> bytes:
    """A small volume whose header holds a name wherever free text fits."""
    voxels = np.random.default_rng(0).random((24, 24, 24), dtype=np.float32)
    if damage:
        voxels[0, 0, 0] = np.nan
    image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header["descrip"] = NAME.encode()
    image.header["aux_file"] = b"Doe^Jane"
    image.header["db_name"] = b"MRN4711"
    image.header["intent_name"] = b"Doe^Jane"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", NAME.encode()))
    return image.to_bytes()


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    key, record = new_key("pacs", (Scope.ADMIN,))
    KeyFile(keys=(record,)).write(path)
    return path, key


def archive(folder: Path) -> bytes:
    """A DICOM study as a zip, its folders named after the patient."""
    study = write_study(folder / "study", contrasts=("t1",), part=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for number, file in enumerate(study.files):
            target.write(file, f"{NAME}/{number}.dcm")
    return packed.getvalue()


def test_no_log_metric_or_error_holds_a_planted_name(
    bundles: Path, keys_file: tuple[Path, str], tmp_path: Path
) -> None:
    path, key = keys_file
    predict = "/v1/models/demo-glioma/predict"
    told: list[str] = []
    with serving(
        "--models", bundles, "--keys-file", path, "--log-format", "json", "--log-level", "debug"
    ) as process:
        headers = {"authorization": f"Bearer {key}", "user-agent": NAME, "x-request-id": NAME}
        with httpx.Client(base_url=process.address, headers=headers, timeout=120) as http:
            file = f"{NAME}.nii.gz"
            good = http.post(predict, files={"t1": (file, gzip.compress(scan()))})
            assert good.status_code == 200
            told += [good.text, str(good.headers)]
            for files in (
                {"t1": (file, scan(damage=True))},
                {"t1": (file, scan()[:-100])},
                {"t1": (file, gzip.compress(scan())[:-100])},
                {"t1": (file, NAME.encode() * 100)},
                {"t1": (file, scan()), "flair": (file, scan()[:400])},
                {NAME: (file, scan())},
                [("t1", (file, scan())), ("t1", (file, scan()))],
            ):
                bad = http.post(predict, files=files)
                assert bad.status_code in (413, 422), bad.text
                told += [bad.text, str(bad.headers)]
            for request in (
                http.build_request(
                    "GET", "/v1/models", headers={"authorization": f"Bearer {NAME}"}
                ),
                http.build_request("GET", f"/{NAME}"),
                http.build_request("GET", predict, params={"patient": NAME}),
                http.build_request("POST", predict, params={"note": NAME}),
                http.build_request("POST", predict, content=NAME, headers={"content-type": NAME}),
            ):
                answer = http.send(request)
                assert answer.status_code >= 400
                told += [answer.text, str(answer.headers)]
            whole = archive(tmp_path)
            for part in (whole, whole[:-40], whole[:5000] + b"Doe^Jane" + whole[5008:]):
                for call in (predict, "/v1/studies/identify"):
                    answer = http.post(call, files={"files": (f"{NAME}.zip", part)})
                    assert answer.status_code < 500
                    told += [answer.text if answer.status_code >= 400 else "", str(answer.headers)]
            told.append(http.get("/metrics").text)
    told += process.lines
    lines = [json.loads(line) for line in process.lines if line.startswith("{")]
    access = [line for line in lines if line["logger"] == "brainmvp.access"]
    assert len(access) == 20
    assert {line.get("caller") for line in access} == {"pacs", None}
    assert all(len(line["request_id"]) == 32 for line in access)
    assert any(line.get("bundle", "").startswith("sha256:") for line in access)
    for word in (*PLANTED, key):
        assert [text for text in told if word in text] == []


def test_a_head_beyond_the_limit_is_refused_and_the_service_lives(bundles: Path) -> None:
    with (
        serving("--models", bundles, "--header-kb", 8) as process,
        httpx.Client(base_url=process.address, timeout=60) as http,
    ):
        assert http.get("/health/live", headers={"x-pad": "x" * 4000}).status_code == 200
        for long in ({"x-pad": "x" * 20_000}, {f"x-{n}": "x" * 100 for n in range(200)}):
            assert http.get("/health/live", headers=long).status_code == 431
        assert http.get("/" + "x" * 20_000).status_code == 431
        with contextlib.suppress(httpx.TransportError):  # it may hang up before it is told all
            endless = http.get("/health/live", headers={"x-pad": "x" * 300_000})
            assert endless.status_code == 400
        assert http.get("/health/live").status_code == 200


def test_the_commands_show_the_key_that_the_environment_holds(
    bundles: Path, keys_file: tuple[Path, str]
) -> None:
    path, key = keys_file
    with serving("--models", bundles, "--keys-file", path) as process:
        command = [sys.executable, "-m", "brainmvp_clients.cli", "models", "--json", "--server"]
        for given, code in (({}, 2), ({"BRAINMVP_API_KEY": key}, 0)):
            done = subprocess.run(
                [*command, process.address],
                env={**os.environ, **given},
                capture_output=True,
                text=True,
                timeout=180,
            )
            assert done.returncode == code, done.stderr
            assert key not in done.stdout + done.stderr
