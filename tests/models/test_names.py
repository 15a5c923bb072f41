"""What everyday names say (``everyday_names.py``), to all who read names."""

from __future__ import annotations

from pathlib import Path

import pytest

import brainmvp_clients.score.names as clients
import brainmvp_models.names as models
from brainmvp_clients.score.bids import modality_of as modality_in_bids
from brainmvp_models.errors import UnknownModality
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.names import name_evidence
from brainmvp_training.case import modality_in_name
from everyday_names import ROWS


@pytest.mark.parametrize(("modality", "name"), ROWS, ids=[name for _, name in ROWS])
def test_an_everyday_name_says_its_modality_or_why_it_is_nobodys(modality: str, name: str) -> None:
    for spelt in (name, name.upper(), f"{name}.nii.gz"):
        said = name_evidence(spelt)
        assert said.modality == (None if modality == "-" else modality), said
        assert bool(said.reason) == (said.modality is None)
        # What is repeated of a name, and read again elsewhere, says the same.
        assert name_evidence("000001_" + "_".join(said.words)).modality == said.modality


@pytest.mark.parametrize(("modality", "name"), ROWS, ids=[name for _, name in ROWS])
def test_parts_datalists_and_bids_read_a_name_in_the_same_way(modality: str, name: str) -> None:
    wanted = None if modality == "-" else modality
    try:
        part = parse_modality(name)
    except UnknownModality:
        pass
    else:
        assert part == wanted
    found = modality_in_name(f"{name}.nii.gz")
    assert found is None or found[0] == wanted
    bids = modality_in_bids(Path(f"sub-02_{name.removeprefix('sub-01_')}.nii.gz"))
    assert bids in (None, wanted)


@pytest.mark.parametrize("name", ["T1-post", "T1_Gd", "T1+C", "T1 KM", "ce-T1w", "t1-precontrast"])
def test_a_part_may_be_called_so(name: str) -> None:
    assert parse_modality(name) == name_evidence(name).modality


@pytest.mark.parametrize("name", ["t1_seg", "jane_doe_t1", "t1_to_flair", "t2star"])
def test_a_part_may_not_be_called_what_says_more_or_less_than_a_modality(name: str) -> None:
    with pytest.raises(UnknownModality):
        parse_modality(name)


def test_of_a_name_only_words_of_the_vocabulary_are_repeated() -> None:
    said = name_evidence("Doe_Jane_19700101_t1_reg_to_flair.nii.gz")
    assert "doe" not in repr(said).lower() and "1970" not in repr(said)


def test_the_names_of_modalities_are_the_models_ones() -> None:
    assert set(models.MODALITIES) == {modality.value for modality in Modality}


def test_the_clients_vocabulary_is_the_models_one() -> None:
    one, other = (Path(str(module.__file__)).read_text("utf-8") for module in (models, clients))
    assert one == other, (
        "cp models/brainmvp_models/names.py clients/brainmvp_clients/score/names.py"
    )
