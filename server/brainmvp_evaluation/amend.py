"""``python -m brainmvp_evaluation.amend``: what a bundle says of its limits, without its network.

For bundles that were exported before their task said what an output needs, or whose card does not
record whom it was measured on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from brainmvp_evaluation.subset_card import card_text, rewritten
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError, InvalidBundle
from brainmvp_models.population import Population, load_population
from brainmvp_models.task import Task, load_task

_MAY_CHANGE = ("needs", "lowest_dice", "intended_use", "licence", "notes")


def amended(bundle: Bundle, task: Task | None, population: Population | None) -> Bundle:
    """The bundle with the limits of another task, and its card measured on a population.

    The network, the templates and the card's figures stay; the bundle's digest becomes another.

    Raises:
        InvalidBundle: the task differs in what the network or its results depend on, or nothing
            was measured that could be of anybody.
    """
    manifest = bundle.manifest
    if task is not None:
        _refuse_another(bundle, task)
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
    return rewritten(bundle, manifest, card_text(bundle))


def _refuse_another(bundle: Bundle, task: Task) -> None:
    old, new = _fixed(bundle.task.model_dump()), _fixed(task.model_dump())
    differing = sorted(key for key in old if old[key] != new[key])
    if differing:
        raise InvalidBundle(
            f"was exported for another task: {', '.join(differing)} differ",
            remedy=f"Change only {', '.join(_MAY_CHANGE)}, or export it again",
            subject=bundle.root.name,
        )


def _fixed(value: Any) -> Any:
    """A dumped task without what may change."""
    if isinstance(value, dict):
        return {key: _fixed(one) for key, one in value.items() if key not in _MAY_CHANGE}
    return [_fixed(one) for one in value] if isinstance(value, (list, tuple)) else value


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code is 2 where something is wrong, with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="brainmvp_evaluation.amend", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("bundle", type=Path, help="NAME or NAME/VERSION")
    parser.add_argument("--task", help="a task file or a preset that differs in its limits alone")
    parser.add_argument(
        "--population", type=Path, help="a YAML file: whom the card was measured on"
    )
    given = parser.parse_args(arguments)
    try:
        bundle = Bundle.open(given.bundle)
        task = load_task(given.task) if given.task else None
        population = load_population(given.population) if given.population else None
        changed = amended(bundle, task, population)
    except BrainMVPError as error:
        print(f"brainmvp: {error}", file=sys.stderr)
        return 2
    print(f"wrote {changed.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
