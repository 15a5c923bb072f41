"""``brainmvp prove --profile speed``: what agrees with reference is written down, and served."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_export.agreement import check_agreement
from brainmvp_export.proof_card import with_proof
from brainmvp_export.speed_proof import GATE, prove_speed, speed_proof_of
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import NotProved, ParityFailed
from brainmvp_models.manifest import OutputAgreement, SpeedProof
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.profile import chosen_profile


def agreed(dice: float) -> OutputAgreement:
    return OutputAgreement(
        real=(Modality.T1,), output="WT", studies=1, dice=dice, volume_error=0.019
    )


def test_a_mask_under_99_percent_is_refused_by_name_and_volumes_are_not_judged() -> None:
    check_agreement([agreed(0.99)], GATE)
    problem = r"WT of t1: Dice 0\.9899.*Dice of 0\.99 and 0\.01 of a score.*serve .* in reference"
    with pytest.raises(ParityFailed, match=problem):
        check_agreement([agreed(0.9899)], GATE)


@pytest.fixture
def complete(bundles: Path, tmp_path: Path) -> Study:
    """One window around a tumour, with another series in the place of the FLAIR."""
    files = {}
    for modality in (Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR):
        shown = Modality.T2 if modality is Modality.FLAIR else modality
        image = nib.load(bundles.parent / "glioma_study" / f"{shown}.nii.gz")
        files[modality] = tmp_path / f"{modality}.nii.gz"
        data = np.asarray(image.dataobj)[30:120, 30:120, 40:130]
        nib.save(nib.Nifti1Image(data, image.affine), files[modality])
    return read_study(files)


@pytest.fixture
def demo(bundles: Path, tmp_path: Path) -> Bundle:
    shutil.copytree(bundles / "demo-glioma", tmp_path / "models" / "demo-glioma")
    return Bundle.open(tmp_path / "models" / "demo-glioma")


def test_a_study_of_one_window_agrees_in_every_subset_but_proves_nothing_it_does_not_show(
    demo: Bundle, complete: Study
) -> None:
    found = prove_speed(demo, [complete])
    assert len(found.windows) == 9 and set(found.windows) == {(1, 1)}
    dices = [one.dice for one in found.agreement if one.studies]
    assert dices and set(dices) == {1.0}
    with pytest.raises(ParityFailed, match="no study shows 1 mL of ET"):
        speed_proof_of(found, 1, packaged=False, command="test")


def test_a_proof_stands_in_manifest_and_card_and_is_what_the_profile_is_chosen_by(
    demo: Bundle,
) -> None:
    proof = SpeedProof(
        runtime="openvino 1", scans="given", studies=2, agreement=(agreed(0.9932),),
        reference_windows=30, windows=20, command="the command",
        created="2026-11-28T00:00:00+00:00",
    )  # fmt: skip
    with pytest.raises(NotProved):
        chosen_profile(demo.manifest, "speed")
    written = with_proof(demo, proof)
    assert written.manifest.speed_proof == proof
    assert chosen_profile(written.manifest, "speed") == "speed"
    card = (written.root / "card.md").read_text()
    assert (
        card.count("## The profile speed") == 1 and "| t1 | WT | 1 | 0.9932 | 1.90% | – |" in card
    )
    assert "20 windows in place of 30 (1.50 ×)" in card and "the command" in card
