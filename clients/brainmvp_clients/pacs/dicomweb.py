"""A PACS over DICOMweb (PS3.18): QIDO-RS finds, WADO-RS fetches, STOW-RS stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import Dataset, dcmread
from requests.auth import AuthBase, HTTPBasicAuth

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs.credentials import Credentials, without_credentials
from brainmvp_clients.pacs.query import Query, is_uid
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.pacs.transfer import (
    MR,
    Instance,
    PacsRefused,
    check_whole,
    confirm,
    fetched_files,
    instances_of,
)
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.retry import RETRYABLE_STATUSES, Unavailable
from brainmvp_clients.score.study_files import Study, StudyFiles
from brainmvp_clients.wire import seconds_asked

TIMEOUT = (10.0, 300.0)
"""Seconds to connect, and between two pieces of an answer."""

_PAGE = 500
_ANY_SYNTAX = (("application/dicom", "*"),)


class Dicomweb:
    """Connections to one DICOMweb service; every thread may use them.

    Raises:
        ClientError: the address is none, or holds credentials.
    """

    def __init__(self, url: str, credentials: Credentials, tls: Tls) -> None:
        self.url = without_credentials(url).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ClientError(
                "is no address", remedy="Write it as https://HOST/dicom-web", subject=self.url
            )
        self._session = _Session(credentials, tls)
        self._web = DICOMwebClient(self.url, session=self._session, timeout=TIMEOUT)
        self._web.set_http_retry_params(retry=False)

    def studies(self, keys: Mapping[str, str]) -> Iterator[Dataset]:
        """Every study that matches, page by page as they are asked for; a page by date and UID."""
        before: set[str] = set()
        start = 0
        while True:
            with library_errors():
                page = self._web.search_for_studies(
                    limit=_PAGE, offset=start, search_filters=dict(keys)
                )
                found = {str(d.StudyInstanceUID): d for d in map(Dataset.from_json, page)}
            # A service that ignores the offset sends its first page for ever; one that gives fewer
            # than it was asked for may have more all the same.
            new = found.keys() - before
            if not new:
                return
            yield from sorted((found[uid] for uid in new), key=_date_and_uid)
            before = set(found)
            start += len(page)

    def series(self, study: str) -> list[Dataset]:
        """The MR series of a study."""
        with library_errors():
            found = self._web.search_for_series(study, search_filters={"Modality": MR})
        return [
            item
            for item in map(Dataset.from_json, found)
            # A service may ignore a filter.
            if item.get("Modality", MR) == MR
        ]

    def fetch(self, study: str, series: str, into: Path) -> int:
        """Write a series' instances into a folder, in the syntax they are stored in."""
        number = 0
        with library_errors():
            for dataset in self._web.iter_series(study, series, media_types=_ANY_SYNTAX):
                number += 1
                path = into / f"{number:06d}.dcm"
                with writing(path):
                    dataset.save_as(path, enforce_file_format=True)
        return number

    def store(self, instances: tuple[Instance, ...]) -> None:
        """Store objects and make sure that they are there."""
        for instance in instances:
            with library_errors():
                self._web.store_instances([dcmread(instance.path)], instance.study)
        confirm(instances, self._there)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _there(self, instance: Instance) -> bool:
        with library_errors():
            found = self._web.search_for_instances(
                instance.study,
                instance.series,
                search_filters={"SOPInstanceUID": instance.instance},
            )
        return any(Dataset.from_json(item).SOPInstanceUID == instance.instance for item in found)


class DicomwebSource:
    """The studies of a PACS that match a query; their MR series are fetched."""

    dicom = True

    def __init__(self, web: Dicomweb, query: Query) -> None:
        self._web, self._query = web, query

    def studies(self) -> Iterator[Study]:
        """As the PACS lists them, never more than a page at a time."""
        uids: Iterable[str] | None = self._query.uids
        if uids is None:
            found = self._web.studies(self._query.keys())
            listed = (str(dataset.StudyInstanceUID) for dataset in found)
            uids = (uid for uid in listed if is_uid(uid) and self._query.takes(uid))
        for uid in islice(uids, self._query.limit):
            yield Study(uid, uid)

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """Every MR series, whole."""
        for number, series in enumerate(self._web.series(study.key), start=1):
            folder = into / f"{number:03d}"
            folder.mkdir()
            got = self._web.fetch(study.key, series.SeriesInstanceUID, folder)
            check_whole(got, series)
        return fetched_files(into)

    def close(self) -> None:
        """Close the connections."""
        self._web.close()


class DicomwebSink:
    """Results stored by STOW-RS and confirmed by QIDO-RS, which 200 alone does not prove."""

    dicom = True

    def __init__(self, web: Dicomweb) -> None:
        self._web = web
        self.label = f"dicomweb {web.url}"

    def deliver(self, study: Study, result: Path) -> None:
        """Store the result's DICOM objects; their UIDs make a repeat replace them."""
        self._web.store(instances_of(result))

    def close(self) -> None:
        """Close the connections."""
        self._web.close()


class _Session(requests.Session):
    """TLS as it was ordered: requests would let variables of the environment override it."""

    def __init__(self, credentials: Credentials, tls: Tls) -> None:
        super().__init__()
        self.auth = _auth(credentials)
        self._verify: bool | str = str(tls.ca) if tls.ca else True
        if tls.cert:
            self.cert = (str(tls.cert), str(tls.key)) if tls.key else str(tls.cert)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Wildcards as they are, as RFC 3986 allows: Orthanc 1.10 decodes no query."""
        prepared = super().prepare_request(request)
        path, mark, query = (prepared.url or "").partition("?")
        prepared.url = path + mark + query.replace("%2A", "*").replace("%3F", "?")
        return prepared

    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        """Proxies from the environment, trust from here."""
        settings = super().merge_environment_settings(*args, **kwargs)
        return {**settings, "verify": self._verify}


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _NoAuth(AuthBase):
    """Without it, requests would send what a .netrc holds."""

    def __call__(self, request: Any) -> Any:
        return request


def _auth(credentials: Credentials) -> AuthBase:
    if credentials.token:
        return _Bearer(credentials.token)
    if credentials.user:
        return HTTPBasicAuth(credentials.user, credentials.password or "")
    return _NoAuth()


@contextmanager
def library_errors() -> Iterator[None]:
    """Turns what the libraries raise, whose texts hold UIDs, into this package's errors."""
    try:
        yield
    except requests.HTTPError as error:
        raise _refusal(error.response) from None
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise PacsRefused(
                "the PACS speaks no TLS that we do",
                remedy="Check the address: http:// or https://, and its port; and --cert",
            ) from None
        raise PacsRefused(
            "the PACS's certificate is not trusted", remedy="Give its authority with --ca"
        ) from None
    except (requests.RequestException, OSError) as error:
        raise Unavailable(
            f"the PACS cannot be reached ({type(error).__name__})",
            remedy="Check its address and that it runs",
        ) from None
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise PacsRefused(
            f"the PACS sent what is no DICOMweb ({type(error).__name__})",
            remedy="Check the address: it ends such as /dicom-web",
        ) from None


def _date_and_uid(study: Dataset) -> tuple[str, str]:
    return str(study.get("StudyDate", "")), str(study.StudyInstanceUID)


def _refusal(answer: requests.Response | None) -> ClientError:
    status = answer.status_code if answer is not None else 0
    if answer is not None and status in RETRYABLE_STATUSES:
        return Unavailable(
            f"the PACS is busy (HTTP {status})",
            remedy="Send fewer studies at once",
            retry_after=seconds_asked(answer.headers.get("Retry-After", "")),
        )
    if status in (401, 403):
        remedy = "Give credentials by the environment or with --credentials"
        return PacsRefused(f"the PACS refuses the credentials (HTTP {status})", remedy=remedy)
    return PacsRefused(
        f"the PACS said no (HTTP {status})",
        remedy="Check the address, which ends such as /dicom-web, and the log of the PACS",
    )
