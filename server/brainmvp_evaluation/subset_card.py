"""Put what was measured into the bundle: the manifest's subset card and the card's table."""

from __future__ import annotations

from typing import get_args

from brainmvp_evaluation.schema import Evaluation, Figure
from brainmvp_evaluation.tables import HEADLINES, quality_tables
from brainmvp_models.amend import CARD, amended, with_section
from brainmvp_models.bundle import Bundle
from brainmvp_models.calibration import WHOLE
from brainmvp_models.determinable import needs_of, not_determinable
from brainmvp_models.errors import InvalidBundle
from brainmvp_models.manifest import Evaluated, Manifest, Metric, SubsetQuality
from brainmvp_models.population import measured_on

_HEADING = "## Measured quality"
_WHOM = "## Measured on"
_LIMITS = "## Not determinable"


def refuse_card(bundle: Bundle, *, other_templates: bool = False, failures: int = 0) -> None:
    """Refuse to write a card that would not be the bundle's, or not of the whole list.

    Raises:
        InvalidBundle: other templates were used, or some studies failed.
    """
    if other_templates or failures:
        why = f"{failures} measurements failed" if failures else "other templates are used"
        raise InvalidBundle(
            f"gets no card: {why}",
            remedy="Evaluate the bundle as it is, on studies that can be measured",
            subject=bundle.root.name,
        )


def write_subset_card(bundle: Bundle, evaluation: Evaluation) -> Bundle:
    """The bundle with the evaluation's figures in the place of its subset card; see `amended`.

    Raises:
        InvalidBundle: the folder cannot be written to.
    """
    subject = evaluation.subject
    manifest = bundle.manifest.model_copy(
        update={
            "subset_card": tuple(filter(None, map(_line, evaluation.figures))),
            "evaluated": Evaluated(
                command=evaluation.command,
                datalist=subject.datalist,
                evaluator=subject.evaluator,
                created=evaluation.created,
                population=evaluation.population,
            ),
        }
    )
    return rewritten(bundle, manifest, with_quality(card_text(bundle), evaluation))


def rewritten(bundle: Bundle, manifest: Manifest, card: str) -> Bundle:
    """The bundle with another manifest, and a card that says what that decides, written aside.

    Args:
        card: the text; its sections on what is not determinable, and for whom, are made anew.

    Raises:
        InvalidBundle: the folder cannot be written to.
    """
    return amended(bundle, manifest, lambda _: with_limits(card, manifest))


def card_text(bundle: Bundle) -> str:
    """The bundle's card; of one without, a heading."""
    card = bundle.root / CARD
    return card.read_text(encoding="utf-8") if card.is_file() else f"# {bundle.manifest.name}\n"


def _line(figure: Figure) -> SubsetQuality | None:
    """The card's line for a figure; none for what only the report holds."""
    if figure.metric not in get_args(Metric):
        return None
    return SubsetQuality(
        real=figure.real,
        fill=figure.fill,
        output=figure.output,
        metric=figure.metric,  # type: ignore[arg-type]
        value=_rounded(figure.value),
        low=None if figure.low is None else _rounded(figure.low),
        high=None if figure.high is None else _rounded(figure.high),
        studies=figure.studies,
    )


def _rounded(value: float) -> float:
    return round(value, 4)


def with_quality(card: str, evaluation: Evaluation) -> str:
    """The card's text with its section on quality replaced, or added at the end."""
    subject = evaluation.subject
    body = "\n\n".join(
        (
            "On the served pipeline: mean over studies with its 95 % bootstrap interval. "
            f"Command: `{evaluation.command}` (list {subject.datalist[:19]}…, section "
            f"{subject.section}, {evaluation.created}).",
            quality_tables(evaluation, HEADLINES[evaluation.kind]),
        )
    )
    return with_section(card, _HEADING, body)


def without_figures(card: str) -> str:
    """The text of a card with figures, which are of other masks now, without them."""
    for heading in (_HEADING, _WHOM):
        card = with_section(card, heading, "Nothing, since the masks became others.")
    return card


def with_limits(card: str, manifest: Manifest) -> str:
    """The card's text with its sections on whom it was measured on, and what it cannot decide."""
    evaluated = manifest.evaluated
    if evaluated is not None:
        whom = evaluated.population
        studies = max((line.studies for line in manifest.subset_card), default=0)
        body = f"{measured_on(studies, whom)[:1].upper()}{measured_on(studies, whom)[1:]}"
        card = with_section(card, _WHOM, f"{body}: {whom.sentence}." if whom else f"{body}.")
    return with_section(card, _LIMITS, _limits(manifest))


def _limits(manifest: Manifest) -> str:
    """What each measured subset cannot decide, and what no study without a modality can."""
    task = manifest.task
    needs = dict(needs_of(task.outputs))
    lines = [
        f"- without {modality}, however it is filled: {_names(found)}"
        for modality in task.modalities
        if (found := [name for name, needed in needs.items() if modality in needed])
    ]
    for real, fill in dict.fromkeys((line.real, line.fill) for line in manifest.subset_card):
        by = f" (filled by {fill})" if fill != "none" else ""
        found = [
            one.output
            for one in not_determinable(manifest, real, fill)
            if set(needs[one.output]) <= set(real)
        ]
        if found:
            lines.append(f"- with {', '.join(real)}{by}, as measured: {_names(found)}")
    if not lines:
        return "Nothing of what was measured."
    return "\n".join(("A result leaves these out, and says why:", "", *lines))


def _names(outputs: list[str]) -> str:
    return ", ".join("the class" if name == WHOLE else name for name in outputs)
