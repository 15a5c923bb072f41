"""The error tree."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from brainmvp_models.errors import BrainMVPError, InvalidCheckpoint, InvalidInput, InvalidVolume


def _tree(kind: type[BrainMVPError]) -> Iterator[type[BrainMVPError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


OURS = [kind for kind in _tree(BrainMVPError) if kind.__module__ == BrainMVPError.__module__]


def test_error_reads_as_subject_problem_remedy() -> None:
    error = InvalidCheckpoint("holds no state_dict", remedy="Give another", subject="a.pt")
    assert str(error) == "a.pt: holds no state_dict. Give another."


def test_error_without_subject_starts_with_the_problem() -> None:
    assert str(InvalidVolume("is empty", remedy="Give another")) == "is empty. Give another."


def test_every_error_has_a_code_and_title_of_its_own() -> None:
    assert len(OURS) > 10
    assert len({kind.code for kind in OURS}) == len(OURS)
    assert len({kind.title for kind in OURS}) == len(OURS)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_error_survives_a_process_boundary(kind: type[BrainMVPError]) -> None:
    error = pickle.loads(pickle.dumps(kind("p", remedy="r", subject="s")))
    assert type(error) is kind
    assert (error.problem, error.remedy, error.subject) == ("p", "r", "s")


def test_faults_of_a_study_are_invalid_input_and_faults_of_a_model_are_not() -> None:
    assert issubclass(InvalidVolume, InvalidInput)
    assert not issubclass(InvalidCheckpoint, InvalidInput)
