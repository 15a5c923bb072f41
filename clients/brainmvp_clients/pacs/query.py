"""Which studies of a PACS are wanted, in DICOM's own terms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from pydicom.datadict import tag_for_keyword

from brainmvp_clients.errors import ClientError
from brainmvp_clients.score.shard import Takes, every_study

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Query:
    """Study dates, both included; attributes that must match (``*`` and ``?`` as in PS3.4 C.2.2.2).

    ``uids`` names the studies one by one instead; of those found, only what ``takes`` wants.
    """

    since: date | None = None
    until: date | None = None
    match: dict[str, str] = field(default_factory=dict)
    uids: tuple[str, ...] | None = None
    limit: int | None = None
    takes: Takes = every_study

    def keys(self) -> dict[str, str]:
        """The matching keys, by keyword."""
        start, end = (_dicom(day) for day in (self.since, self.until))
        dates = {"StudyDate": f"{start}-{end}"} if start or end else {}
        return {"ModalitiesInStudy": "MR", **dates, **self.match}

    def first_days(self, days: int) -> tuple[Query, Query | None]:
        """The same of its first days, and what is left of it; None where that is all.

        What is dated after today is one part. So is everything without ``since``, or where the
        study date itself must match.
        """
        today = date.today()
        last = min(self.until or today, today)
        if self.since is None or self.since > last or "StudyDate" in self.match:
            return self, None
        end = min(self.since + timedelta(days=days - 1), last)
        first = replace(self, until=end)
        if end == self.until:
            return first, None
        return first, replace(self, since=end + timedelta(days=1))


def parse_match(texts: list[str]) -> dict[str, str]:
    """``KEYWORD=VALUE`` texts as keys.

    Raises:
        ClientError: one is none, or its keyword is no attribute of DICOM.
    """
    keys = {}
    for text in texts:
        keyword, equals, value = text.partition("=")
        if not equals or tag_for_keyword(keyword) is None:
            raise ClientError(
                "is no KEYWORD=VALUE of DICOM",
                remedy="Write such as StudyDescription=*BRAIN*",
                subject="--match",
            )
        keys[keyword] = value
    return keys


def is_uid(text: str) -> bool:
    """Whether the text is a UID (PS3.5, section 9.1), and so safe as a folder's name."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def _dicom(day: date | None) -> str:
    return day.strftime("%Y%m%d") if day else ""
