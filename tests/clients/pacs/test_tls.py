"""Over TLS, only the right peer is spoken to, and only over TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brainmvp_clients import Client
from brainmvp_clients.errors import ClientError, LocalFileError, ServerUnreachable
from brainmvp_clients.pacs.credentials import Credentials, without_credentials
from brainmvp_clients.pacs.dicomweb import Dicomweb, DicomwebSource
from brainmvp_clients.pacs.dimse import Caller, Dimse, DimseSource, Peer
from brainmvp_clients.pacs.query import Query
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.pacs.transfer import PacsRefused
from brainmvp_clients.score.retry import Unavailable
from certificates import Certificates, certificates
from dicom_studies import Study as Written
from orthanc import PASSWORD, USER, Orthanc, orthanc
from tls_proxy import tls_in_front_of

SECRET = Credentials(user=USER, password=PASSWORD)


@pytest.fixture(scope="module")
def pem(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(program, tmp_path_factory.mktemp("pem"))


@pytest.fixture(scope="module")
def other(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(program, tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def secured(
    program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory, pem: Certificates,
    dicom_files: tuple[Written, ...],
) -> Iterator[Orthanc]:  # fmt: skip
    """An Orthanc that speaks DIMSE over TLS only, to peers with a certificate."""
    with orthanc(
        program, tmp_path_factory.mktemp("secured"),
        DicomTlsEnabled=True, DicomTlsCertificate=str(pem.cert), DicomTlsPrivateKey=str(pem.key),
        DicomTlsTrustedCertificates=str(pem.ca), DicomAlwaysAllowFind=True,
    ) as running:  # fmt: skip
        running.add(dicom_files[0].files)
        yield running


def test_dimse_over_tls_fetches_a_study_and_refuses_every_wrong_certificate(
    secured: Orthanc, pem: Certificates, other: Certificates, dicom_files: tuple[Written, ...],
    tmp_path: Path,
) -> None:  # fmt: skip
    peer = Peer.parse(secured.peer)
    good = Caller(tls=Tls(pem.ca, pem.cert, pem.key))
    source = DimseSource(Dimse(peer, good), Query())
    (study,) = source.studies()
    assert len(source.fetch(study, tmp_path).files) == len(dicom_files[0].files)
    for tls in (None, Tls(pem.ca), Tls(other.ca, pem.cert, pem.key), Tls(pem.ca, *_shown(other))):
        with pytest.raises(Unavailable):
            list(DimseSource(Dimse(peer, Caller(tls=tls)), Query()).studies())


def _shown(pem: Certificates) -> tuple[Path, Path]:
    return pem.cert, pem.key


def test_https_trusts_the_authority_that_is_given_and_no_other_whatever_the_environment_says(
    pacs: Any, pem: Certificates, other: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_in_front_of(pacs.orthanc.http, pem) as port:
        url = f"https://127.0.0.1:{port}/dicom-web"

        def count(ca: Path | None) -> int:
            source = DicomwebSource(Dicomweb(url, SECRET, Tls(ca=ca)), Query())
            found = len(list(source.studies()))
            source.close()
            return found

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.ca))
        assert count(pem.ca) == 3
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem.ca))
        for ca in (other.ca, None):
            with pytest.raises(PacsRefused, match="not trusted"):
                count(ca)


def test_the_server_is_reached_over_https_with_a_given_authority(
    peer: Any, reply: Any, model: Any, pem: Certificates, other: Certificates
) -> None:
    import json

    peer.says("/v1/models", reply(body=json.dumps({"models": [model]}).encode()))
    port = int(peer.url.rpartition(":")[2])
    with tls_in_front_of(port, pem) as secure:
        url = f"https://127.0.0.1:{secure}"
        with Client(url, verify=Tls(ca=pem.ca).client()) as client:
            assert client.models()[0].name == "tumour"
        with (
            Client(url, verify=Tls(ca=other.ca).client()) as client,
            pytest.raises(ServerUnreachable),
        ):
            client.models()


def test_wrong_credentials_are_refused_at_once_and_not_named(pacs: Any) -> None:
    wrong = replace(SECRET, password="hunter2")
    source = DicomwebSource(Dicomweb(pacs.orthanc.dicomweb, wrong, Tls()), Query())
    with pytest.raises(PacsRefused, match="credentials") as caught:
        list(source.studies())
    source.close()
    assert "hunter2" not in str(caught.value) + repr(wrong)


def test_credentials_come_from_the_environment_or_a_file_that_only_its_owner_reads(
    tmp_path: Path,
) -> None:
    environment = {"BRAINMVP_DICOMWEB_USER": "a", "BRAINMVP_DICOMWEB_PASSWORD": "b"}
    assert Credentials.read(None, environment) == Credentials(user="a", password="b")
    path = tmp_path / "secrets"
    path.write_text("# doors\nBRAINMVP_DICOMWEB_PASSWORD = from = file\n")
    path.chmod(0o600)
    assert Credentials.read(path, environment) == Credentials(user="a", password="from = file")
    path.chmod(0o644)
    with pytest.raises(LocalFileError, match="read by others"):
        Credentials.read(path, environment)
    path.chmod(0o600)
    path.write_text("PASSWORD=x")
    with pytest.raises(LocalFileError, match="no known name") as caught:
        Credentials.read(path, environment)
    assert "=x" not in str(caught.value)


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(ClientError) as caught:
        without_credentials("https://user:hunter2@pacs/dicom-web")
    assert "hunter2" not in str(caught.value)


def test_files_that_are_no_certificates_are_a_clear_refusal(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    for tls in (Tls(ca=tmp_path / "x.pem"), Tls(cert=tmp_path / "x.pem"), Tls(ca=tmp_path / "y")):
        with pytest.raises(LocalFileError, match="cannot be used for TLS"):
            tls.client()
    with pytest.raises(LocalFileError, match="needs a certificate"):
        Tls().server()
