"""Which series is named where those of one study show several heads: never the wrong patient's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.errors import RegistrationFailed
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.preparation.belonging import Misfit
from brainmvp_server.preparation.co_register import blame, co_register
from brainmvp_server.preparation.groups import groups_of

T1, T1C, T2, FLAIR = Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR
FAULT = Misfit("it does not fit the head that t1c shows: 18% are lost", "18% are lost", "See to it")


@pytest.fixture(scope="module")
def series() -> dict[Modality, Volume]:
    """Four series; what they show does not matter."""
    t1 = read_nifti(
        Path(__file__).parents[3] / "examples" / "glioma_study" / "t1.nii.gz", Modality.T1
    )
    return {modality: replace(t1, modality=modality) for modality in (T1C, T1, T2, FLAIR)}


@pytest.mark.parametrize(
    ("fitting", "others", "subject", "words"),
    [
        ((T1C,), (T1, T2), "t1c", "the head that t1 and t2 show, which fit one another: with t1,"),
        ((T1C, T1, T2), (FLAIR,), "flair", "18% are lost; t1c, t1 and t2 fit one another"),
        ((T1C,), (T2,), "t2", "which of t2 and t1c is wrong cannot be told"),
        ((T1C, T1), (T2, FLAIR), "t2", "t1c and t1 fit one another, and so do t2 and flair"),
    ],
    ids=["the reference is the odd one", "another is", "two", "two against two"],
)
def test_the_series_that_are_fewer_are_named(
    series: dict[Modality, Volume],
    fitting: tuple[Modality, ...],
    others: tuple[Modality, ...],
    subject: str,
    words: str,
) -> None:
    fit, odd = ([series[name] for name in names] for names in (fitting, others))
    error = blame(fit, odd, dict.fromkeys(others, FAULT))
    assert error.subject == subject and words in error.problem


def test_groups_are_joined_by_a_series_that_fits_both_and_few_are_asked(
    series: dict[Modality, Volume],
) -> None:
    asked = []

    def fit(one: Volume, other: Volume) -> bool:
        asked.append((one.modality, other.modality))
        return T2 in asked[-1]

    (every,) = groups_of([series[T1], series[T1C], series[T2]], fit)
    assert {volume.modality for volume in every} == {T1, T1C, T2}
    asked.clear()
    assert len(groups_of([series[T2], series[T1], series[FLAIR]], fit)) == 1 and len(asked) == 2


def test_another_patients_t1c_is_named_and_not_the_t1_that_does_not_fit_it(
    real_data: Callable[[str], Path],
) -> None:
    own, other = real_data("longitudinal") / "ms01", real_data("clinical") / "fg6692" / "raw"
    volumes = [read_nifti(own / f"study1_{m}.nii.gz", m) for m in (T1, FLAIR)]
    foreign = read_nifti(other / "t1c.nii.gz", T1C)
    words = r"the head that t1 and flair show, .* with t1, \d+% of the match is lost"
    with pytest.raises(RegistrationFailed, match=words) as refused:
        co_register([*volumes, foreign], foreign, CancelToken())
    assert refused.value.subject == "t1c"


def test_half_a_head_is_named_itself_however_many_halves_there_are(
    real_data: Callable[[str], Path],
) -> None:
    folder = real_data("clinical") / "fg6692" / "raw"
    t1, t1c = (read_nifti(folder / f"{m}.nii.gz", m) for m in (T1, T1C))
    dark = t1.stored.copy()
    dark[..., dark.shape[2] // 2 :] = 0
    half = replace(t1, stored=np.ascontiguousarray(dark[..., : dark.shape[2] // 2]))
    half = replace(half, grid=replace(t1.grid, shape=half.stored.shape))
    with pytest.raises(RegistrationFailed, match="of the middle of the head") as refused:
        co_register([half, t1c], t1c, CancelToken())
    assert refused.value.subject == "t1"


def test_a_mirrored_series_that_matches_one_contrast_is_refused_by_another(
    real_data: Callable[[str], Path],
) -> None:
    folder = real_data("longitudinal") / "ms01"
    t1, t2, flair = (read_nifti(folder / f"study1_{name}.nii.gz", name) for name in (T1, T2, FLAIR))
    across = t2.grid.orientation.axes[0]
    mirrored = replace(t2, stored=np.ascontiguousarray(np.flip(t2.stored, across)))
    assert set(co_register([t1, mirrored], t1, CancelToken())) == {T2}  # alone it would be taken
    with pytest.raises(RegistrationFailed, match=r"head that flair shows.*t1 and flair fit") as got:
        co_register([t1, mirrored, flair], t1, CancelToken())
    assert got.value.subject == "t2"
