"""Names of modalities."""

from __future__ import annotations

import pytest

from brainmvp_models.errors import UnknownModality
from brainmvp_models.modality import BANK_ORDER, Modality, parse_modality, printable


@pytest.mark.parametrize("modality", Modality)
def test_every_modality_is_known_by_its_own_name_in_any_case(modality: Modality) -> None:
    assert parse_modality(modality.value) is modality
    assert parse_modality(f" {modality.value.upper()} ") is modality


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("T1ce", Modality.T1C),
        ("T1-Gd", Modality.T1C),
        ("t1_post", Modality.T1C),
        ("T2-FLAIR", Modality.FLAIR),
        ("TOF", Modality.MRA),
        ("T1-IR", Modality.T1IR),
    ],
)
def test_common_aliases_are_understood(name: str, modality: Modality) -> None:
    assert parse_modality(name) is modality


@pytest.mark.parametrize("name", ["", "t3", "t1t2", "ct"])
def test_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownModality, match="flair, t1, t1c, t2, mra, pd, dwi, adc, t1ir"):
        parse_modality(name)


def test_hostile_name_is_quoted_short_and_printable() -> None:
    with pytest.raises(UnknownModality) as caught:
        parse_modality("\x1b[31m\n" + "x" * 500)
    assert caught.value.problem.isprintable()
    assert len(caught.value.problem) < 80


def test_printable_leaves_short_plain_text_alone() -> None:
    assert printable("T1 ü") == "T1 ü"
    assert printable("abcdef", limit=4) == "abc…"


def test_bank_order_is_that_of_the_published_rep_template() -> None:
    assert " ".join(BANK_ORDER) == "flair t1 t1c t2 mra pd dwi adc"
