"""Whom a figure is of is read whole or refused, and said in the same words everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmvp_models.errors import InvalidPopulation
from brainmvp_models.population import load_population, measured_on

FIELDS = """\
kind: volunteer
description: students
anatomy: real
preparation: as scanned
field_of_use: teaching
"""


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "whom.yaml"
    path.write_text(FIELDS)
    one = load_population(path)
    assert one.sentence == ("students; real anatomy; prepared: as scanned; field of use: teaching")
    assert measured_on(12, one) == "12 volunteer studies"


def test_a_card_that_does_not_say_whom_it_is_of_is_not_taken_for_patients() -> None:
    assert measured_on(50, None) == "what is not recorded (50 studies)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (FIELDS.replace("volunteer", "people"), "kind: Input should be"),
        (FIELDS.replace("description: students\n", ""), "description: Field required"),
        (FIELDS + "more: 1\n", "more: Extra inputs"),
        ("", "the file: "),
        ("a: [", "is not valid YAML"),
    ],
)
def test_a_file_with_faults_is_refused_with_the_field(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "whom.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidPopulation, match=says) as refused:
        load_population(path)
    assert refused.value.subject == str(path)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidPopulation, match="cannot be read"):
        load_population(tmp_path / "absent.yaml")
