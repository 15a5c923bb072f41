"""The measured part of ``docs/dicom-identification.md``.

``python tests/support/identification_page.py`` writes it anew; tests say where it is stale. The
table of real headers is written where those are (``../shared/dicom``, or a file given as argument).
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from brainmvp_server.imaging.identify.decide import Answer, Confidence, decide
from brainmvp_server.imaging.identify.rules import load_rules
from header_sets import HeaderSet, header_sets
from real_headers import HEADERS, RealHeader, real_headers

PAGE = Path(__file__).parents[2] / "docs" / "dicom-identification.md"
SETS, REAL = "measured", "real headers"
NOT_USED = ("-", "?")


def outcome(row: HeaderSet | RealHeader, answer: Answer) -> str:
    """``right``, ``unknown`` (no answer where there is one) or ``wrong``."""
    if isinstance(row, RealHeader):
        label = row.modality
    else:
        label = None if row.label in NOT_USED else row.label
    given = answer.modality.value if answer.modality else None
    if given == label:
        return "right"
    return "unknown" if given is None else "wrong"


STRIPPED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the description": {"description": "", "protocol": ""},
    "the timing and the sequence": {
        "echo_time": None, "repetition_time": None, "inversion_time": None, "flip_angle": None,
        "sequence": (), "variant": (),
    },
    "Image Type": {"image_type": ()},
}  # fmt: skip
"""Headers as careless de-identification and old archives leave them."""


def stripped(what: str) -> Counter[tuple[str, Confidence]]:
    """How often each outcome comes with each confidence when a part of every header is missing."""
    rules = load_rules()
    counts: Counter[tuple[str, Confidence]] = Counter()
    for row in header_sets():
        answer = decide(replace(row.header, **STRIPPED[what]), rules)
        counts[outcome(row, answer), answer.confidence] += 1
    return counts


def measured() -> str:
    """The accuracy tables, as Markdown."""
    rules, rows = load_rules(), header_sets()
    answered = [(row, decide(row.header, rules)) for row in rows]
    vendors = Counter(row.vendor for row in rows)
    by_label: dict[str, Counter[str]] = defaultdict(Counter)
    for row, answer in answered:
        label = "never used, or not to be known" if row.label in NOT_USED else row.label
        by_label[label][outcome(row, answer)] += 1
    names = ", ".join(f"{name.capitalize()} {count}" for name, count in vendors.items())
    lines = [f"{len(rows)} header sets ({names.replace('Ge ', 'GE ')}).", ""]
    lines += [*_table("what it is", by_label), "", *_stripped_table()]
    misses = [f"- {row}: {answer.reason}" for row, answer in answered
              if outcome(row, answer) != "right"]  # fmt: skip
    return "\n".join([*lines, *(["", "Not right:", *misses] if misses else [])])


def _stripped_table() -> list[str]:
    lines = ["The same with a part of every header taken away:", ""]
    lines += ["| without | right | no answer | wrong, medium | wrong, high |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for what in STRIPPED:
        counts = stripped(what)
        right = sum(n for (kind, _), n in counts.items() if kind == "right")
        cells = (
            right, counts["unknown", Confidence.NONE], counts["wrong", Confidence.MEDIUM],
            counts["wrong", Confidence.HIGH],
        )  # fmt: skip
        lines.append(f"| {what} | {' | '.join(map(str, cells))} |")
    return lines


def measured_on(headers: Path) -> str:
    """The table of real headers, as Markdown."""
    rules, rows = load_rules(), real_headers(headers)
    by_label: dict[str, Counter[str]] = defaultdict(Counter)
    sure = 0
    for row in sorted(rows, key=lambda row: (row.modality is None, row.label)):
        answer = decide(row.header, rules)
        kind = outcome(row, answer)
        by_label[row.label.replace("none:", "not used: ")][kind] += 1
        sure += kind == "wrong" and answer.confidence == Confidence.HIGH
    head = f"{len(rows)} headers; wrong with high confidence: {sure}."
    return "\n".join([head, "", *_table("what it is", by_label)])


def page(text: str, part: str, tables: str) -> str:
    """The page's text with one of its measured parts as it is now."""
    start, end = f"<!-- {part}: start -->", f"<!-- {part}: end -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{tables}\n{end}{after}"


def _table(head: str, counts: dict[str, Counter[str]]) -> list[str]:
    lines = [f"| {head} | right | no answer | wrong |", "| --- | ---: | ---: | ---: |"]
    for name, count in counts.items():
        lines.append(f"| {name} | {count['right']} | {count['unknown']} | {count['wrong']} |")
    return lines


if __name__ == "__main__":
    now = page(PAGE.read_text(encoding="utf-8"), SETS, measured())
    real = Path(sys.argv[1]) if len(sys.argv) > 1 else HEADERS
    if real.is_file():
        now = page(now, REAL, measured_on(real))
    PAGE.write_text(now, encoding="utf-8")
