"""Options of where studies come from."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainmvp_clients.cli.batch_options import option
from brainmvp_clients.cli.problems import UsageProblem
from brainmvp_clients.errors import one_line
from brainmvp_clients.score.bids import BidsSource
from brainmvp_clients.score.folders import FolderSource
from brainmvp_clients.score.protocols import Source
from brainmvp_clients.score.shard import Shard, Takes, every_study
from brainmvp_clients.score.worklist import WorklistSource, read_uids

if TYPE_CHECKING:
    from brainmvp_clients.pacs.query import Query

_PANEL = "Studies"


def _from(metavar: str, description: str) -> Any:
    return option(metavar, description, _PANEL)


def _day() -> Any:
    return typer.Option(
        parser=day_of,
        metavar="DAY",
        help="Study date: 2026-01-31, today, yesterday, or 7d for 7 days ago.",
        rich_help_panel=_PANEL,
    )


def day_of(text: str) -> date:
    """A date as it is written, or one that is told from today.

    Raises:
        UsageProblem: it is none.
    """
    ago = re.fullmatch(r"([0-9]{1,5})d", {"today": "0d", "yesterday": "1d"}.get(text, text))
    try:
        if ago is not None:
            return date.today() - timedelta(days=int(ago[1]))
        return datetime.strptime(text, "%Y-%m-%d").date()
    except (ValueError, OverflowError):
        raise UsageProblem(
            f"'{one_line(text, 40)}' is no day",
            remedy="Write it as 2026-01-31, today, yesterday, or 7d for 7 days ago",
        ) from None


@dataclass(frozen=True)
class SourceOptions:
    """Which studies, from where.

    Raises:
        UsageProblem: they come from no place or from several, or what is asked cannot be meant.
    """

    folder: Annotated[Path | None, _from("DIR", "A folder a study.")] = None
    bids: Annotated[Path | None, _from("DIR", "A BIDS data set.")] = None
    worklist: Annotated[
        Path | None, _from("FILE", "CSV or JSONL; with a PACS, its study UIDs.")
    ] = None
    dicomweb: Annotated[str | None, _from("URL", "A PACS's DICOMweb service.")] = None
    dimse: Annotated[str | None, _from("TITLE@HOST:PORT", "A PACS's application entity.")] = None
    retrieve: Annotated[str, _from("get|move", "How DIMSE fetches.")] = "get"
    scp_port: Annotated[int, _from("PORT", "Our port for C-MOVE.")] = 11112
    since: Annotated[date | None, _day()] = None
    until: Annotated[date | None, _day()] = None
    match: Annotated[
        list[str] | None, _from("KEYWORD=VALUE", "A PACS's attribute; repeatable.")
    ] = None
    brain: Annotated[
        str | None,
        _from("PATTERN", "Each study's own brain mask, NIfTI, by its file's name."),
    ] = None
    only: Annotated[str, _from("PATTERN", "Studies on disk by their names.")] = "*"
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Studies at most, of each shard.", rich_help_panel=_PANEL),
    ] = None
    shard: Annotated[
        str | None, _from("I/N", "Only part I, from 0, of N; read in an Indexed Job.")
    ] = None

    def __post_init__(self) -> None:
        _ = self.part  # a shard that is none is refused before anything is done
        given = [self.folder, self.bids, self.dicomweb, self.dimse]
        pacs = self.dicomweb or self.dimse
        if sum(entry is not None for entry in given) + bool(self.worklist and not pacs) != 1:
            raise UsageProblem(
                "studies must come from one place",
                remedy="Give one of --folder, --bids, --worklist, --dicomweb and --dimse",
            )
        if not pacs and (self.since or self.until or self.match):
            raise UsageProblem(
                "--since, --until and --match ask a PACS", remedy="Use --only for studies on disk"
            )
        if self.brain is not None and (pacs or self.worklist):
            raise UsageProblem(
                "names masks beside the series of --folder or --bids",
                remedy="Leave it out; a worklist of files has a column 'brain' for them",
                subject="--brain",
            )
        if self.since and self.until and self.since > self.until:
            raise UsageProblem("--since is after --until", remedy="Give the earlier day first")

    @property
    def part(self) -> Shard | None:
        """Which part of the studies is meant: as it was given, or as an Indexed Job says.

        Raises:
            ClientError: there is no such part.
        """
        return Shard.parse(self.shard) if self.shard else Shard.of_job(os.environ)

    @property
    def _takes(self) -> Takes:
        return self.part.takes if self.part else every_study

    def query(self) -> Query:
        """The same for a PACS.

        Raises:
            ClientError: the worklist cannot be read, or an attribute is none of DICOM.
        """
        from brainmvp_clients.pacs.query import Query, parse_match

        return Query(
            self.since,
            self.until,
            parse_match(self.match or []),
            read_uids(self.worklist, self._takes) if self.worklist else None,
            self.limit,
            self._takes,
        )

    def on_disk(self) -> Source | None:
        """The source, if it is none of a PACS.

        Raises:
            LocalFileError: what was named cannot be read.
        """
        if self.folder is not None:
            return FolderSource(self.folder, self.only, self._takes, self.brain)
        if self.bids is not None:
            return BidsSource(self.bids, self.only, self._takes, self.brain)
        if self.worklist is not None and not (self.dicomweb or self.dimse):
            return WorklistSource(self.worklist, self.only, self._takes)
        return None
