"""Where a benchmark's figures stand in the docs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def keep(lines: Sequence[str], page: Path, name: str) -> None:
    """Put lines into a page, between its marks ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.

    Raises:
        ValueError: the page does not have each mark once.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = page.read_text(encoding="utf-8").split(begin)
    _, tail = rest.split(end)
    page.write_text("\n".join([head + begin, *lines, end + tail]), encoding="utf-8")
