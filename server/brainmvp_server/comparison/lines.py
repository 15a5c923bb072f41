"""A comparison in lines of text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from brainmvp_server.comparison.change import Change
from brainmvp_server.comparison.compare import Comparison

_MOST_LESIONS = 20


def lines(made: Comparison) -> Iterator[str]:
    """What changed, structure by structure, and what a reader should know."""
    for structure in made.structures:
        name = structure.kind.title or structure.kind.name
        yield f"{name}: {_ml(structure.volume)}"
        for lesion in structure.lesions[:_MOST_LESIONS]:
            place = " ".join(f"{mm:.0f}" for mm in lesion.centroid_mm)
            side = f", {lesion.side}" if lesion.side else ""
            yield f"  {lesion.number}: {_ml(lesion.volume)}; at {place} mm{side}"
        more = len(structure.lesions) - _MOST_LESIONS
        if more > 0:
            yield f"  and {more} smaller ones"
    found, (one, other) = made.alignment.found, made.alignment.series
    moved = found.moved_mm if found else 0.0
    yield f"aligned: {other} with {one}, moved {moved:.1f} mm"
    yield from (f"warning: {warning}" for warning in made.warnings)


def _ml(change: Change) -> str:
    percent = "" if change.percent is None else f", {change.percent:+.0f} %"
    return (
        f"{change.before:.2f} to {change.after:.2f} mL ({change.difference:+.2f}, "
        f"{change.low:+.2f} to {change.high:+.2f}{percent}): {change.status.value}"
    )
