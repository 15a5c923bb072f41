"""An archive of any size is listed in pieces: a page by QIDO-RS, a day by C-FIND."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt

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
    """A PACS with three studies a day, and the dates that it was asked for."""
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


def test_a_pacs_is_asked_day_by_day_and_no_day_before_it_is_needed(
    archive: tuple[Peer, list[str]],
) -> None:
    peer, dates = archive
    query = Query(since=date(2024, 2, 27), until=date(2024, 3, 2))
    source = DimseSource(Dimse(peer, Caller()), query)
    studies = source.studies()
    assert [study.name for study in islice(studies, 3)] == [f"1.2.20240227.{n}" for n in range(3)]
    assert dates == ["20240227-20240227"]
    assert len(list(studies)) == 4 * 3
    days = ("20240227", "20240228", "20240229", "20240301", "20240302")
    assert dates == [f"{day}-{day}" for day in days]


def test_a_query_by_day_covers_every_date_from_the_first_on() -> None:
    today = date.today()
    open_end = list(Query(since=today - timedelta(days=2)).by_day())
    assert [query.since for query in open_end] == [
        today + timedelta(days=n) for n in (-2, -1, 0, 1)
    ]
    assert [query.until for query in open_end[:3]] == [query.since for query in open_end[:3]]
    assert open_end[3].until is None
    later = Query(since=today + timedelta(days=5), until=today + timedelta(days=9))
    assert [(q.since, q.until) for q in later.by_day()] == [(later.since, later.until)]
    for whole in (Query(), Query(until=today), Query(since=today, match={"StudyDate": "2024*"})):
        assert list(whole.by_day()) == [whole]
