"""The figures of a model's training studies, and the limits beyond which a study is unlike them.

A contrast is a ridge regression (Hoerl and Kennard, Technometrics 12:55-67, 1970) of the kind of a
series on its pattern, each study also mirrored. Its limits are set on studies that no training saw:
the nearest to what those have that leaves no more of them beyond than is allowed, and where the
other kind is far away, nearer to that.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_models.training_distribution import (
    BLOCKS,
    FigureRange,
    KindContrast,
    KindLimit,
    LesionLoad,
)
from brainmvp_server.inference.figures import StudyFigures
from brainmvp_server.inference.out_of_distribution import kind_scores, named_figures

Values = NDArray[np.float64]

_RIDGE = 100.0
_SIZE_MARGIN, _SERIES_MARGIN = 0.2, 0.6
"""How far ranges reach beyond the figures of the training studies, of their width."""
_MISSED = 0.01
"""Share of the other kind that may be missed by a limit that need not be lower."""
_DEVIATIONS = np.arange(1.0, 6.0, 0.05)
"""Where limits may lie, from the mean of what is right."""
_ALONE, _AMONG, _EXCHANGED = 0.03, 0.015, 0.02
"""Share of the studies that may be beyond the limits of each kind."""


def ranges_of(studies: Sequence[StudyFigures]) -> tuple[FigureRange, ...]:
    """Where each figure lay, with a margin on both sides."""
    named = [named_figures(study) for study in studies]
    found = []
    for figure in sorted({name for one in named for name in one}):
        values = [one[figure] for one in named if figure in one]
        low, high = min(values), max(values)
        of_series = figure.partition(".")[0] in set(Modality)
        margin = (_SERIES_MARGIN if of_series else _SIZE_MARGIN) * (high - low)
        found.append(
            FigureRange(figure=figure, low=_rounded(low - margin), high=_rounded(high + margin))
        )
    return tuple(found)


def contrasts_of(
    studies: Sequence[StudyFigures], modalities: Sequence[Modality]
) -> tuple[KindContrast, ...]:
    """A contrast for each two modalities that the studies have."""
    patterns = {m: _patterns(studies, m) for m in modalities}
    return tuple(
        _contrast(one, other, patterns[one], patterns[other])
        for one, other in combinations(modalities, 2)
        if len(patterns[one]) and len(patterns[other])
    )


def limits_of(
    studies: Sequence[StudyFigures], contrasts: Sequence[KindContrast]
) -> tuple[KindLimit, ...]:
    """The limits, set on studies that no training saw and that have all of the modalities."""
    if not contrasts:
        return ()
    pairs = [p for c in contrasts for p in ((c.one, c.other), (c.other, c.one))]
    scores = [kind_scores(patterns_of(study), contrasts) for study in studies]
    own = np.array([[found[given, given, like] for given, like in pairs] for found in scores])
    wrong = np.array([[found[like, given, like] for given, like in pairs] for found in scores])
    columns = [[i for i, (m, _) in enumerate(pairs) if m == one] for one in {m for m, _ in pairs}]
    alone = limits_between(own, wrong, _ALONE, columns)
    among = limits_between(own, wrong, _AMONG, [list(range(len(pairs)))])
    exchanged = limits_between(own - wrong, wrong - own, _EXCHANGED, [list(range(len(pairs)))])
    return tuple(
        KindLimit(given=given, looks_like=like, alone=a, among=b, exchanged=c)
        for (given, like), a, b, c in zip(pairs, alone, among, exchanged, strict=True)
    )


def patterns_of(study: StudyFigures) -> dict[Modality, NDArray[np.float32]]:
    """The patterns of a study, of the series that are large enough for one."""
    return {m: one.pattern for m, one in study.series.items() if one.pattern is not None}


def lesion_load_of(
    outputs: Sequence[str], volumes: Sequence[Sequence[float]]
) -> tuple[LesionLoad, ...]:
    """The most mL of each output, of the studies whose mL are known."""
    known = [study for study in volumes if study]
    return tuple(
        LesionLoad(output=name, most_ml=_rounded(max(study[i] for study in known)))
        for i, name in enumerate(outputs)
        if known
    )


def limits_between(
    right: Values, wrong: Values | None, share: float, judged: Sequence[Sequence[int]]
) -> list[float]:
    """Limits of the columns of ``right`` (N, P), of which no more than a share is beyond.

    Args:
        wrong: (N, P) what others have, who should be beyond, where that is known.
        judged: columns of which a study is beyond any, or is not.
    """
    far = np.full(right.shape[1], -np.inf) if wrong is None else np.quantile(wrong, _MISSED, axis=0)
    limits = far
    for deviations in _DEVIATIONS:
        limits = np.maximum(right.mean(axis=0) + deviations * right.std(axis=0), far)
        beyond = right > limits
        if max(float(beyond[:, part].any(axis=1).mean()) for part in judged) <= share:
            break
    return [_rounded(one) for one in limits]


def in_bytes(weights: Values) -> NDArray[np.int8]:
    """Weights as signed bytes, the largest 127."""
    whole: NDArray[np.int8] = np.rint(weights * (127 / np.abs(weights).max())).astype(np.int8)
    return whole


def between_means(weights: NDArray[np.int8], first: Values, second: Values) -> tuple[float, float]:
    """Scale and offset by which weights give ``first`` (N, P) -1 on average, and ``second`` 1."""
    low, high = (float(part.mean(axis=0) @ weights) for part in (first, second))
    scale = 2 / (high - low)
    return scale, -1 - scale * low


def _patterns(studies: Sequence[StudyFigures], modality: Modality) -> Values:
    """(2 N, P), each also mirrored."""
    found = [p for study in studies if (p := patterns_of(study).get(modality)) is not None]
    mirrored = [pattern.reshape(2, *BLOCKS)[:, ::-1].ravel() for pattern in found]
    return np.array([*found, *mirrored], np.float64)


def _contrast(one: Modality, other: Modality, first: Values, second: Values) -> KindContrast:
    x = np.concatenate([first, second])
    y = np.repeat([-1.0, 1.0], [len(first), len(second)])
    x -= x.mean(axis=0)
    weights = x.T @ np.linalg.solve(x @ x.T + _RIDGE * np.eye(len(x)), y - y.mean())
    whole = in_bytes(weights)
    scale, offset = between_means(whole, first, second)
    return KindContrast(
        one=one,
        other=other,
        weights=base64.b64encode(whole.tobytes()),
        scale=scale,
        offset=offset,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
