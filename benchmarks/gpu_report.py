"""What ``gpu.py`` finds: figures, kept as they come, so that a run that is cut off loses none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, or why it was not.

    Attributes:
        unit: of ``value``: s, ms, MB, Dice, of a deviation, studies / min; empty for a count.
        note: more of it in words; of what failed, the reason.
    """

    stage: str
    what: str
    value: float | None
    unit: str = ""
    note: str = ""


class Report:
    """Figures, written to ``path`` as JSON as they come.

    Args:
        seconds: stages that would begin after so many are left out, and the report says so.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._begin = time.monotonic()
        self._seconds = seconds
        self._stage = ""
        self.figures: list[Figure] = []

    @property
    def seconds_left(self) -> float:
        """Of the time there is."""
        return self._seconds - (time.monotonic() - self._begin)

    def add(self, what: str, value: float | None, unit: str = "", note: str = "") -> None:
        """Keep a figure of the stage under way, and print it."""
        figure = Figure(self._stage, what, None if value is None else round(value, 5), unit, note)
        self.figures.append(figure)
        self.keep()
        print(_line(figure), flush=True)

    @contextmanager
    def part(self, what: str) -> Iterator[None]:
        """Something that may fail without keeping the rest from being measured."""
        try:
            yield
        except Exception as error:  # the point of the run is to learn of all of them at once
            self.add(what, None, note=f"failed: {type(error).__name__}: {error}"[:300])

    def stage(self, name: str) -> bool:
        """Begin a stage; whether there is time for it."""
        self._stage = name
        if self.seconds_left <= 0:
            self.add("all of it", None, note="left out: no time was left")
        return self.seconds_left > 0

    def keep(self) -> None:
        """Write the JSON, and beside it the table."""
        figures = [asdict(figure) for figure in self.figures]
        self._path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        table = "\n".join(self.table()) + "\n"
        self._path.with_suffix(".md").write_text(table, encoding="utf-8")

    @property
    def failed(self) -> bool:
        """Whether anything did."""
        return any(figure.note.startswith("failed") for figure in self.figures)

    def table(self) -> list[str]:
        """The lines of the page."""
        return [
            "| stage | what | measured | |",
            "| --- | --- | --- | --- |",
            *map(_line, self.figures),
        ]


def _line(figure: Figure) -> str:
    shown = "–" if figure.value is None else f"{figure.value:g} {figure.unit}".rstrip()
    note = figure.note.replace("|", "/").replace("\n", " ")
    return f"| {figure.stage} | {figure.what} | {shown} | {note} |"
