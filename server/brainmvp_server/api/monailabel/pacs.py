"""The study of a series that a viewer shows, from the PACS, over DICOMweb (PS3.18).

A viewer names one series. Its study is looked up (QIDO-RS, section 10.6) and all its MR series are
fetched as they are stored (WADO-RS, section 10.4), so that the model sees everything there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from brainmvp_server.api.problems import PacsUnavailable, UnknownImage
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.settings.model import ViewerSettings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_TIMEOUT = httpx.Timeout(60, connect=10)
_JSON = {"accept": "application/dicom+json"}
_ANY_SYNTAX = {"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_STUDY, _SERIES = "0020000D", "0020000E"


@dataclass(frozen=True)
class FetchLimits:
    """How much one study may bring."""

    bytes: int
    files: int


@dataclass(frozen=True)
class Pacs:
    """A DICOMweb service.

    Attributes:
        url: its root, without a slash at the end.
    """

    url: str
    limits: FetchLimits
    _auth: httpx.Auth | None = field(default=None, repr=False)
    _headers: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, settings: ViewerSettings, limits: FetchLimits) -> Pacs | None:
        """As the settings say; None where they name none."""
        if settings.pacs_url is None:
            return None
        user, password, token = settings.pacs_user, settings.pacs_password, settings.pacs_token
        auth = None
        if user is not None and password is not None:
            auth = httpx.BasicAuth(user, password.get_secret_value())
        headers = {} if token is None else {"authorization": f"Bearer {token.get_secret_value()}"}
        return cls(settings.pacs_url.rstrip("/"), limits, auth, headers)

    def study_of(
        self, series: str, folder: Path, check: Callable[[], None]
    ) -> tuple[Unpacked, ...]:
        """Every image of the MR series of a series' study, written into ``folder``.

        Args:
            check: called before each series and piece; raises where nobody waits any more.

        Raises:
            UnknownImage: it is no UID of a series, or the PACS has none of that UID.
            PacsUnavailable: the PACS does not answer, refuses, or sends more than it may.
        """
        if len(series) > 64 or not _UID.fullmatch(series):
            raise UnknownImage(
                "the image is neither a session's nor the UID of a series",
                remedy="Send the image first, or open a series of the PACS",
            )
        images = _Images(folder, self.limits)
        with self._answering() as http:
            found = self._asked(http, "/series", {"SeriesInstanceUID": series})
            study = next((uid for item in found for uid in _values(item, _STUDY)), "")
            if not _UID.fullmatch(study):
                raise UnknownImage(
                    "the PACS has no series of that UID",
                    remedy="See that the viewer and the service ask the same PACS",
                )
            place = f"/studies/{study}/series"
            for item in self._asked(http, place, {"Modality": "MR"}):
                for uid in filter(_UID.fullmatch, _values(item, _SERIES)):
                    self._fetch(http, f"{place}/{uid}", images, check)
        return tuple(images.files)

    @contextmanager
    def _answering(self) -> Iterator[httpx.Client]:
        try:
            with httpx.Client(auth=self._auth, headers=self._headers, timeout=_TIMEOUT) as http:
                yield http
        except httpx.HTTPStatusError as error:
            raise _unavailable(f"it answers {error.response.status_code}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _unavailable(f"it does not answer ({type(error).__name__})") from None

    def _asked(self, http: httpx.Client, place: str, keys: dict[str, str]) -> list[dict[str, Any]]:
        wanted = {**keys, "includefield": _STUDY}
        answer = http.get(self.url + place, params=wanted, headers=_JSON)
        answer.raise_for_status()
        if answer.status_code == httpx.codes.NO_CONTENT:
            return []
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, list):
            raise _unavailable("it sends no DICOM JSON")
        return [item for item in found if isinstance(item, dict)]

    def _fetch(
        self,
        http: httpx.Client,
        place: str,
        images: _Images,
        check: Callable[[], None],
    ) -> None:
        check()
        with http.stream("GET", self.url + place, headers=_ANY_SYNTAX) as answer:
            answer.raise_for_status()
            kind, options = parse_options_header(answer.headers.get("content-type", ""))
            if kind != b"multipart/related" or not 0 < len(options.get(b"boundary", b"")) <= 70:
                raise _unavailable("it sends no images where it is asked for them")
            with images.series() as callbacks:
                parser = MultipartParser(options[b"boundary"], callbacks)
                for piece in answer.iter_bytes(1 << 20):
                    check()
                    images.count(len(piece))
                    parser.write(piece)


@dataclass
class _Images:
    """Writes each part of the PACS's answers into a file of its own, up to the limits."""

    folder: Path
    limits: FetchLimits
    files: list[Unpacked] = field(default_factory=list)
    _bytes: int = 0
    _file: IO[bytes] | None = None
    _complete: bool = False

    @contextmanager
    def series(self) -> Iterator[MultipartCallbacks]:
        """What a parser of one answer calls.

        Raises:
            PacsUnavailable: it is not well formed, or ends early.
        """
        self._complete = False
        try:
            yield {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._whole,
            }
        except FormParserError:
            raise _unavailable("what it sends is not well formed") from None
        finally:
            self._end()
        if not self._complete:
            raise _unavailable("what it sends ends early")

    def count(self, size: int) -> None:
        """Bytes that have come."""
        self._bytes += size
        if self._bytes > self.limits.bytes:
            raise _unavailable("the study is larger than upload_mb allows")

    def _begin(self) -> None:
        if len(self.files) >= self.limits.files:
            raise _unavailable("the study has more images than upload_files allows")
        path = self.folder / f"pacs-{len(self.files):06d}"
        self.files.append(Unpacked(path, ""))
        self._file = path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None
        self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _whole(self) -> None:
        self._complete = True


def _values(item: dict[str, Any], tag: str) -> list[str]:
    """The texts of an attribute in DICOM JSON (PS3.18, annex F)."""
    held = item.get(tag)
    values = held.get("Value") if isinstance(held, dict) else None
    return [value for value in values if isinstance(value, str)] if values else []


def _unavailable(why: str) -> PacsUnavailable:
    return PacsUnavailable(
        f"the study cannot be fetched from the PACS: {why}",
        remedy="Look at the PACS and at the setting pacs_url; then try again",
    )
