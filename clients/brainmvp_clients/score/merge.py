"""Put the parts of a run together: one table, what is missing, and what is doubled."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from brainmvp_clients.errors import LocalFileError, OutputExists
from brainmvp_clients.result_files import writing
from brainmvp_clients.score.ledger import StudyState
from brainmvp_clients.score.output_folder import LEDGER, OutputFolder, shards_in
from brainmvp_clients.score.private_files import make_private, replacing_private
from brainmvp_clients.score.row import Row
from brainmvp_clients.score.row_index import RowIndex
from brainmvp_clients.score.run_record import RunRecord
from brainmvp_clients.score.table_files import JSONL, WriteTables, as_text, write_csv, write_lines
from brainmvp_clients.score.worklist import read_names

InBucket = Callable[[PurePosixPath], bool]
"""Whether the bucket has the result at a place below ``studies``."""

MERGED, MISSING, DOUBLED = "merged.json", "missing.csv", "doubled.csv"
_REASONS = 20


class Merged(BaseModel):
    """What came of putting the parts together; the studies behind the numbers are in the tables.

    ``parts``: folders with a table; ``runs``: bundles and settings that they were made with, more
    than one where parts do not belong together. ``missing_shards`` have no folder,
    ``unended_shards`` were killed, stopped or are at work. ``damaged_tables`` have fewer studies
    than their run left in them. ``without_files`` studies are done and
    their folder is gone, ``without_line`` ones are in the worklist and in no table. ``doubled``
    studies are in several tables. ``seconds``: of all studies, as the client waited.
    """

    model_config = ConfigDict(frozen=True)

    parts: int
    runs: int
    studies: int
    done: int
    refused: int
    failed: int
    missing_shards: tuple[str, ...]
    unended_shards: tuple[str, ...]
    damaged_tables: tuple[str, ...]
    without_files: int
    without_line: int
    doubled: int
    models: dict[str, int]
    reasons: dict[str, int]
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether every study has its result or its refusal, once."""
        wrong = (self.failed, self.without_files, self.without_line, self.doubled)
        shards = self.missing_shards or self.unended_shards
        return not (any(wrong) or shards or self.damaged_tables or self.runs > 1)


@dataclass(frozen=True)
class Part:
    """One table and where its studies' results lie."""

    folder: OutputFolder
    record: RunRecord | None

    @property
    def table(self) -> Path:
        """Its lines."""
        return self.folder.own / JSONL

    def lacks(self, lines: int) -> bool:
        """Whether a table of so many studies has lost some since its run ended."""
        record = self.record
        return record is not None and record.ended and lines < (record.lines or 0)

    def has_files(self, study: str, in_bucket: InBucket) -> bool:
        """Whether a study has its results, in the folder or the bucket of the run."""
        place = self.folder.place(study)
        if self.record is not None and self.record.in_bucket:
            return in_bucket(place)
        return (self.folder.studies / place).is_dir()


@dataclass
class _Count:
    """What is counted while the rows pass by."""

    states: Counter[StudyState] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    without_files: int = 0
    without_line: int = 0

    def add(self, row: Row) -> None:
        self.states[row.state] += 1
        self.models[f"{row.model} {row.version}"] += 1
        self.seconds += row.seconds
        if row.reason:
            self.reasons[row.reason] += 1


def taken_as_there(_: PurePosixPath) -> bool:
    """Nobody said where the bucket is."""
    return True


def merge(
    roots: list[Path],
    out: Path | None,
    *,
    worklist: Path | None = None,
    files: bool = True,
    in_bucket: InBucket = taken_as_there,
    formats: tuple[WriteTables, ...] = (write_csv,),
) -> tuple[Merged, Path]:
    """Merge runs, or shards of them, into the tables of ``out``; that folder, too.

    Without ``out`` they go beside the shards of the first root. ``worklist`` names the studies that
    there should be; ``files`` looks whether each study that is done has its files, those that a run
    kept in a bucket by ``in_bucket``; ``formats`` are those of the tables.

    Raises:
        LocalFileError: a root holds no run, or cannot be read.
        OutputExists: ``out`` holds a run of its own.
    """
    parts = [part for root in roots for part in parts_of(root)]
    into = _place(roots[0], out)
    with writing(into), closing(RowIndex()) as index:
        for part in parts:
            index.add(part.table)
        write_lines(index, into / JSONL)
        for write in formats:
            write(index, into)
        with replacing_private(into / MISSING) as file:
            count = _count(index, parts, file, worklist, in_bucket if files else None)
        with replacing_private(into / DOUBLED) as file:
            doubled = _write_doubled(index, file)
        damaged = [
            str(part.table)
            for part, lines in zip(parts, index.counts(), strict=True)
            if part.lacks(lines)
        ]
        merged = _merged(parts, count, doubled, damaged)
        with replacing_private(into / MERGED) as file:
            file.write(merged.model_dump_json(indent=2) + "\n")
    return merged, into


def parts_of(root: Path) -> list[Part]:
    """The shards below an output folder that have a table, or the folder itself.

    Raises:
        LocalFileError: there is none.
    """
    sharded = [OutputFolder(root, shard) for shard in shards_in(root)]
    folders = sharded or [OutputFolder(root)]
    parts = [Part(folder, RunRecord.read(folder.own)) for folder in folders]
    found = [part for part in parts if part.table.is_file()]
    if not found:
        raise LocalFileError(
            "holds no run", remedy="Give what was --out of brainmvp score", subject=str(root)
        )
    return found


def _place(root: Path, out: Path | None) -> Path:
    """Where the tables go: never over those of a run."""
    into = out or root
    with writing(into):
        own = (into / LEDGER).exists()
    if own:
        raise OutputExists(
            "holds a run of its own", remedy="Give --out DIR, another folder", subject=str(into)
        )
    make_private(into)
    return into


def _count(
    index: RowIndex,
    parts: list[Part],
    file: TextIO,
    worklist: Path | None,
    in_bucket: InBucket | None,
) -> _Count:
    """Count, and write a line for each study that is missing; without ``in_bucket`` no file is
    looked for."""
    count, by_table = _Count(), {part.table: part for part in parts}
    writer = csv.writer(file)
    writer.writerow(("study", "why"))
    for row, table in index.located():
        count.add(row)
        if row.state is StudyState.FAILED:
            writer.writerow((as_text(row.study), "failed"))
        elif (
            in_bucket is not None
            and row.state is StudyState.DONE
            and not by_table[table].has_files(row.study, in_bucket)
        ):
            count.without_files += 1
            writer.writerow((as_text(row.study), "done, but its files are gone"))
    for name in read_names(worklist) if worklist else ():
        if not index.has(name):
            count.without_line += 1
            writer.writerow((as_text(name), "in no table"))
    return count


def _write_doubled(index: RowIndex, file: TextIO) -> int:
    writer, number = csv.writer(file), 0
    writer.writerow(("study", "tables"))
    for number, (study, tables) in enumerate(index.doubled(), start=1):  # noqa: B007
        writer.writerow((as_text(study), " ".join(str(table) for table in tables)))
    return number


def _merged(parts: list[Part], count: _Count, doubled: int, damaged: list[str]) -> Merged:
    records = [part.record for part in parts if part.record]
    return Merged(
        parts=len(parts),
        runs=len({(record.bundle, record.settings) for record in records}),
        studies=count.states.total(),
        done=count.states[StudyState.DONE],
        refused=count.states[StudyState.REFUSED],
        failed=count.states[StudyState.FAILED],
        missing_shards=tuple(_missing_shards(parts)),
        unended_shards=tuple(
            str(part.folder.shard)
            for part in parts
            if part.folder.shard and not (part.record and part.record.ended)
        ),
        damaged_tables=tuple(damaged),
        without_files=count.without_files,
        without_line=count.without_line,
        doubled=doubled,
        models=dict(sorted(count.models.items())),
        reasons=dict(count.reasons.most_common(_REASONS)),
        seconds=round(count.seconds, 1),
    )


def _missing_shards(parts: list[Part]) -> Iterator[str]:
    """The shards that no part is, of each number of shards that a part is one of."""
    shards = {part.folder.shard for part in parts if part.folder.shard}
    for total in sorted({shard.count for shard in shards}):
        there = {shard.number for shard in shards if shard.count == total}
        yield from (f"{number}/{total}" for number in range(total) if number not in there)
