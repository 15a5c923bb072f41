"""``python -m brainmvp_evaluation.amend``: what a bundle says, without its network and templates.

For bundles that were exported before their task said what an output needs or which parts are shown,
or whose card does not record whom it was measured on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from brainmvp_evaluation.subset_card import card_text, rewritten, without_figures
from brainmvp_models.amend import sections, with_section
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError, InvalidBundle
from brainmvp_models.population import Population, load_population
from brainmvp_models.task import Task, load_task

_LIMITS = ("needs", "lowest_dice", "intended_use", "licence", "notes")
_MASKS = ("threshold", "smallest_ml", "high_threshold")
"""What decides which voxels a mask shows: with another, what was measured is of other masks."""


def amended(
    bundle: Bundle, task: Task | None, population: Population | None, prose: str = ""
) -> Bundle:
    """The bundle with another task's limits, its card measured on a population and of other words.

    The network and the templates stay; the bundle's digest becomes another. The card's figures
    stay, too, unless the masks become others: then it has none until it is measured anew.

    Args:
        prose: Markdown; each of its sections takes the place of the card's of that heading.

    Raises:
        InvalidBundle: the task differs in what the network depends on; the bundle has proofs of
            other masks; or nothing was measured that could be of anybody.
    """
    manifest, card = bundle.manifest, card_text(bundle)
    if task is not None:
        _refuse_another(bundle, task)
        if _without(bundle.task, _LIMITS) != _without(task, _LIMITS):
            _refuse_proved(bundle)
            if manifest.evaluated is not None:
                card = without_figures(card)
            manifest = manifest.model_copy(update={"subset_card": (), "evaluated": None})
        manifest = manifest.model_copy(update={"task": task})
    if population is not None:
        if manifest.evaluated is None:
            raise InvalidBundle(
                "has no card that could be of anybody",
                remedy="Measure it: brainmvp evaluate --write-card --population FILE",
                subject=bundle.root.name,
            )
        evaluated = manifest.evaluated.model_copy(update={"population": population})
        manifest = manifest.model_copy(update={"evaluated": evaluated})
    for heading, body in sections(prose).items():
        card = with_section(card, heading, body)
    return rewritten(bundle, manifest, card)


def _refuse_another(bundle: Bundle, task: Task) -> None:
    may_change = (*_MASKS, *_LIMITS)
    old, new = _without(bundle.task, may_change), _without(task, may_change)
    differing = sorted(key for key in old if old[key] != new[key])
    if differing:
        raise InvalidBundle(
            f"was exported for another task: {', '.join(differing)} differ",
            remedy=f"Change only {', '.join(may_change)}, or export it again",
            subject=bundle.root.name,
        )


def _refuse_proved(bundle: Bundle) -> None:
    if bundle.manifest.cpu_proofs or bundle.manifest.speed_proof:
        raise InvalidBundle(
            "has proofs of the masks that it makes now",
            remedy="Export it again with the new task, then prove it again: brainmvp prove",
            subject=bundle.root.name,
        )


def _without(task: Task, names: Collection[str]) -> dict[str, Any]:
    """A dumped task without some of its fields, wherever they are."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(one) for key, one in value.items() if key not in names}
        return [bare(one) for one in value] if isinstance(value, (list, tuple)) else value

    found: dict[str, Any] = bare(task.model_dump())
    return found


def prose_of(path: Path) -> str:
    """The text of a Markdown file.

    Raises:
        InvalidBundle: it cannot be read, or has no section.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    if not sections(text):
        raise InvalidBundle(
            "has no section to put into a card",
            remedy="Give a Markdown file with headings of the form '## …'",
            subject=str(path),
        )
    return text


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code is 2 where something is wrong, with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="brainmvp_evaluation.amend", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("bundle", type=Path, help="NAME or NAME/VERSION")
    parser.add_argument(
        "--task", help="a task file or a preset that differs in limits or in which parts it shows"
    )
    parser.add_argument(
        "--population", type=Path, help="a YAML file: whom the card was measured on"
    )
    parser.add_argument("--card", type=Path, help="Markdown whose sections replace the card's")
    given = parser.parse_args(arguments)
    try:
        bundle = Bundle.open(given.bundle)
        task = load_task(given.task) if given.task else None
        population = load_population(given.population) if given.population else None
        prose = prose_of(given.card) if given.card else ""
        changed = amended(bundle, task, population, prose)
    except BrainMVPError as error:
        print(f"brainmvp: {error}", file=sys.stderr)
        return 2
    print(f"wrote {changed.root}")
    if bundle.manifest.subset_card and not changed.manifest.subset_card:
        print("its masks are others now: brainmvp evaluate --write-card measures them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
