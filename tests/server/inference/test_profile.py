"""The profile speed is run where it is proved and asked for; reference is what it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import NotProved
from brainmvp_models.manifest import OutputAgreement, Profile, SpeedProof, UsualProfile
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.profile import chosen_profile
from brainmvp_server.results.report import report_html
from brainmvp_server.results.served_model import Model
from brainmvp_server.results.summary import Summary

PROOF = SpeedProof(
    runtime="openvino",
    scans="given",
    studies=1,
    agreement=(OutputAgreement(real=(Modality.T1,), output="WT", studies=1, dice=0.995),),
    reference_windows=12,
    windows=8,
    command="test",
    created="2026-11-28T00:00:00+00:00",
)


def proved(bundle: Bundle) -> Bundle:
    return Bundle(bundle.root, bundle.manifest.model_copy(update={"speed_proof": PROOF}))


@pytest.mark.parametrize(
    ("asked", "usual", "has_proof", "chosen"),
    [
        (None, "reference", True, "reference"),
        (None, "auto", True, "speed"),
        (None, "auto", False, "reference"),
        ("reference", "auto", True, "reference"),
        ("speed", "reference", True, "speed"),
    ],
)
def test_speed_is_run_only_by_choice_and_with_a_proof(
    tiny_bundle: Bundle,
    asked: Profile | None,
    usual: UsualProfile,
    has_proof: bool,
    chosen: Profile,
) -> None:
    bundle = proved(tiny_bundle) if has_proof else tiny_bundle
    assert chosen_profile(bundle.manifest, asked, usual) == chosen
    assert Model.of(bundle, ()).profiles == ("reference", "speed")[: 1 + has_proof]


@pytest.fixture(scope="module")
def predictor(tiny_bundle: Bundle) -> Iterator[Predictor]:
    with Predictor.load(tiny_bundle) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def study(real_crop: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A part of a real T1 that takes two windows."""
    image = nib.load(real_crop).slicer[:110, :60, 10:70]
    path = tmp_path_factory.mktemp("part") / "t1.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), path)
    return read_study({Modality.T1: path})


def test_speed_without_a_proof_is_refused_with_the_command_that_makes_one(
    predictor: Predictor, real_crop: Path
) -> None:
    with pytest.raises(NotProved, match=r"tiny/1: .*no proof.*brainmvp prove --profile speed"):
        predictor.predict({"t1": real_crop}, fill="zeros", profile="speed")


def test_a_result_in_speed_says_so_everywhere_and_is_another_one(
    predictor: Predictor, study: Study
) -> None:
    exact = predictor.predict_study(study, fill="zeros", not_determinable=True)
    fewer = predictor.predict_study(study, fill="zeros", not_determinable=True, profile="speed")
    assert (exact.profile, fewer.profile) == ("reference", "speed")
    assert (exact.windows, fewer.windows) == (2, 2)
    assert Summary.of(fewer).profile == "speed"
    assert f"profile speed, {fewer.windows} windows" in report_html(fewer)
    assert f"profile reference, {exact.windows} windows" in report_html(exact)
    agree = float(np.mean(exact.mask == fewer.mask))
    assert 0.9 < agree < 1
