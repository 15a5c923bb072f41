"""An archive of any size is listed in pieces: a page by QIDO-RS, a day by C-FIND."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import islice, pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pynetdicom import AE, evt

from brainmvp_clients.pacs import dimse
from brainmvp_clients.pacs.credentials import Credentials
from brainmvp_clients.pacs.dicomweb import Dicomweb, DicomwebSource
from brainmvp_clients.pacs.dimse import FIND, Caller, Dimse, DimseSource, Peer
from brainmvp_clients.pacs.query import Query
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.score.shard import Shard

UIDS = [f"1.2.826.0.1.{number}" for number in range(1234)]


def _item(uid: str) -> dict[str, Any]:
    return {
        "0020000D": {"vr": "UI", "Value": [uid]},
        "00080020": {"vr": "DA", "Value": ["20240101"]},
    }


@pytest.fixture
def asked(peer: Any) -> list[tuple[int, int]]:
    """The limit and the offset of every query; the peer gives no more than 100 studies at once."""
    queries: list[tuple[int, int]] = []

    def answer(handler: Any) -> None:
        query = parse_qs(urlsplit(handler.path).query)
        limit, offset = int(query["limit"][0]), int(query.get("offset", ["0"])[0])
        queries.append((limit, offset))
        page = UIDS[offset : offset + min(limit, 100)] if peer.pages else UIDS[:100]
        body = json.dumps([_item(uid) for uid in page]).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/dicom+json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    peer.answer, peer.pages = answer, True
    return queries


@contextmanager
def _web(peer: Any, query: Query) -> Iterator[DicomwebSource]:
    source = DicomwebSource(Dicomweb(f"{peer.url}/dicom-web", Credentials(), Tls()), query)
    try:
        yield source
    finally:
        source.close()


def test_every_study_is_listed_also_where_a_page_is_shorter_than_was_asked_for(
    peer: Any, asked: list[tuple[int, int]]
) -> None:
    with _web(peer, Query()) as source:
        found = [study.name for study in source.studies()]
    assert sorted(found) == sorted(UIDS)
    assert [offset for _, offset in asked] == [*range(0, 1300, 100), 1234]


def test_no_page_is_asked_for_before_the_one_before_it_is_used_up(
    peer: Any, asked: list[tuple[int, int]]
) -> None:
    with _web(peer, Query()) as source:
        assert len(list(islice(source.studies(), 100))) == 100
        assert len(asked) == 1
    with _web(peer, Query(limit=150)) as source:
        assert len(list(source.studies())) == 150 and len(asked) == 3


def test_a_service_that_ignores_the_offset_is_not_asked_for_ever(
    peer: Any, asked: list[tuple[int, int]]
) -> None:
    peer.pages = False
    with _web(peer, Query()) as source:
        assert [study.name for study in source.studies()] == sorted(UIDS[:100])
    assert len(asked) == 2


def test_shards_list_every_study_of_an_archive_once(
    peer: Any, asked: list[tuple[int, int]]
) -> None:
    found: list[str] = []
    for number in range(3):
        with _web(peer, Query(takes=Shard(number, 3).takes)) as source:
            found += [study.name for study in source.studies()]
    assert sorted(found) == sorted(UIDS)


@pytest.fixture
def archive() -> Iterator[tuple[Peer, list[str]]]:
    """A PACS with three studies a period, and the dates that it was asked for."""
    dates: list[str] = []

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = str(event.identifier.StudyDate)
        dates.append(asked)
        for number in range(3):
            answer = Dataset()
            answer.QueryRetrieveLevel = "STUDY"
            answer.StudyDate = asked[:8]
            answer.StudyInstanceUID = f"1.2.{asked[:8]}.{number}"
            yield 0xFF00, answer

    entity = AE("PACS")
    entity.add_supported_context(FIND)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)]
    )
    assert server is not None
    try:
        yield Peer("PACS", "127.0.0.1", int(server.server_address[1])), dates
    finally:
        server.shutdown()


def test_a_pacs_is_asked_a_few_days_at_a_time_and_for_none_before_it_is_needed(
    archive: tuple[Peer, list[str]],
) -> None:
    peer, dates = archive
    query = Query(since=date(2024, 2, 27), until=date(2024, 3, 9))
    source = DimseSource(Dimse(peer, Caller()), query)
    studies = source.studies()
    assert [study.name for study in islice(studies, 3)] == [f"1.2.20240227.{n}" for n in range(3)]
    assert dates == ["20240227-20240227"]
    assert len(list(studies)) == 3 * 3
    assert dates[1:] == ["20240228-20240229", "20240301-20240304", "20240305-20240309"]


def test_after_many_studies_a_pacs_is_asked_for_one_day_again(
    archive: tuple[Peer, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, dates = archive
    monkeypatch.setattr(dimse, "_FEW", 3)
    query = Query(since=date(2024, 2, 28), until=date(2024, 3, 1))
    assert len(list(DimseSource(Dimse(peer, Caller()), query).studies())) == 3 * 3
    assert dates == [f"{day}-{day}" for day in ("20240228", "20240229", "20240301")]


@given(st.integers(-40, 5), st.none() | st.integers(-40, 5), st.integers(1, 64))
def test_parts_of_a_query_cover_every_date_once(since: int, until: int | None, days: int) -> None:
    today = date.today()
    first = today + timedelta(days=since)
    last = None if until is None else max(first, today + timedelta(days=until))
    parts: list[Query] = []
    rest: Query | None = Query(since=first, until=last)
    while rest is not None:
        part, rest = rest.first_days(days)
        parts.append(part)
    assert (parts[0].since, parts[-1].until) == (first, last)
    for one, following in pairwise(parts):
        assert one.until is not None and following.since == one.until + timedelta(days=1)
        assert one.since is not None and (one.until - one.since).days < days


def test_what_has_no_first_day_is_asked_for_at_once() -> None:
    today = date.today()
    for whole in (Query(), Query(until=today), Query(since=today, match={"StudyDate": "2024*"})):
        assert whole.first_days(1) == (whole, None)
