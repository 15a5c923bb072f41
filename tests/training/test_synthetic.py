"""Synthetic studies: seeded, anatomically whole, contrasted and diseased as physics has it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import BANK_ORDER, Modality
from brainmvp_training.datalist import population_of, read_datalist
from brainmvp_training.dry_run import check_cases
from brainmvp_training.synthetic.anatomy import Anatomy, from_t1, mni152
from brainmvp_training.synthetic.contrast import Contrast
from brainmvp_training.synthetic.deformation import draw_subject
from brainmvp_training.synthetic.fields import thick_slices
from brainmvp_training.synthetic.glioma import (
    CORE,
    ENHANCING,
    OEDEMA,
    Glioma,
    grow_glioma,
    no_glioma,
)
from brainmvp_training.synthetic.synthetic_study import Recipe, draw_study
from brainmvp_training.synthetic.whom import population_of_recipe
from brainmvp_training.synthetic.wide.wide_study import WideRecipe
from brainmvp_training.synthetic.writing import SynthesisOptions, write_studies


@pytest.fixture(scope="module")
def subject(small_anatomy: Anatomy) -> Anatomy:
    return draw_subject(small_anatomy, np.random.default_rng(3))


@pytest.fixture(scope="module")
def glioma(subject: Anatomy) -> Glioma:
    return grow_glioma(subject, np.random.default_rng(0), enhancing=True)


def test_mni152_has_the_shares_of_tissue_of_a_real_brain() -> None:
    anatomy = mni152()
    csf, grey, white = anatomy.tissue[:, anatomy.brain].mean(axis=1)
    assert 0.05 < csf < 0.2 and 0.4 < grey < 0.65 and 0.3 < white < 0.45
    np.testing.assert_allclose(anatomy.tissue.sum(axis=0)[anatomy.brain], 1, atol=1e-5)
    assert anatomy.texture[~anatomy.brain].max() == 0


def test_looser_extractions_add_csf_in_hollows_and_nothing_beyond_the_brains_box(
    small_anatomy: Anatomy,
) -> None:
    brain, sizes = small_anatomy.brain, [small_anatomy.brain.sum()]
    for loose in small_anatomy.loose:
        added = loose.brain & ~brain
        assert (loose.brain >= brain).all() and added.any()
        assert (loose.tissue[0][added] == 1).all()
        np.testing.assert_array_equal(loose.tissue[:, brain], small_anatomy.tissue[:, brain])
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            np.testing.assert_array_equal(
                np.nonzero(loose.brain.any(axis=others))[0][[0, -1]],
                np.nonzero(brain.any(axis=others))[0][[0, -1]],
            )
        sizes.append(loose.brain.sum())
    assert sizes == sorted(set(sizes)), "the wider the hollows, the more CSF"


def test_a_looser_extraction_changes_no_study_that_was_drawn_without(
    small_anatomy: Anatomy,
) -> None:
    recipe = Recipe((Modality.T1,), air=0)
    tight, loose = (draw_study(small_anatomy, replace(recipe, loose=s), (5,)) for s in (0, 1))
    again = draw_study(small_anatomy, replace(recipe, loose=1e-9), (5,))
    np.testing.assert_array_equal(tight.scans[Modality.T1], again.scans[Modality.T1])
    assert np.count_nonzero(loose.scans[Modality.T1]) > np.count_nonzero(tight.scans[Modality.T1])


def test_a_t1s_tissue_shares_explain_most_of_its_brightness(colin27: Path) -> None:
    anatomy = from_t1(colin27)
    assert anatomy.texture[anatomy.brain].std() < 0.25
    csf, grey, white = anatomy.tissue[:, anatomy.brain].mean(axis=1)
    assert 0.05 < csf < 0.3 and 0.3 < grey < 0.6 and 0.3 < white < 0.6


def test_an_anatomy_that_is_no_brain_extracted_volume_is_refused(tmp_path: Path) -> None:
    full, coarse, text = (tmp_path / name for name in ("full.nii", "coarse.nii", "text.nii"))
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.float32), np.eye(4)), full)
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.float32), np.diag([2, 2, 2, 1])), coarse)
    text.write_text("not a scan")
    for path, problem in ((full, "background"), (coarse, "1 mm"), (text, "cannot be read")):
        with pytest.raises(InvalidDatalist, match=problem):
            from_t1(path)


def test_the_same_seed_gives_the_same_study_and_another_gives_another(
    small_anatomy: Anatomy,
) -> None:
    recipe = Recipe((Modality.T1, Modality.MRA), air=0.2)
    one, same, other = (draw_study(small_anatomy, recipe, (s,)) for s in (5, 5, 6))
    for modality in recipe.modalities:
        np.testing.assert_array_equal(one.scans[modality], same.scans[modality])
    np.testing.assert_array_equal(one.labels, same.labels)
    assert one.labels.shape != other.labels.shape or (one.labels != other.labels).any()


def test_tissue_shares_sum_to_one_in_the_brain_and_to_nothing_outside(subject: Anatomy) -> None:
    total = subject.tissue.sum(axis=0)
    np.testing.assert_allclose(total[subject.brain], 1, atol=1e-5)
    assert total[~subject.brain].max() == 0


@pytest.mark.parametrize(
    ("modality", "darkest_first"),
    [
        (Modality.T1, (0, 1, 2)),
        (Modality.T1C, (0, 1, 2)),
        (Modality.T2, (2, 1, 0)),
        (Modality.FLAIR, (0, 2, 1)),
        (Modality.PD, (2, 1)),
        (Modality.DWI, (0, 2, 1)),
        (Modality.ADC, (2, 1, 0)),
        (Modality.MRA, (0, 1)),
    ],
)
def test_tissues_are_ordered_as_the_modalitys_physics_orders_them(
    subject: Anatomy, modality: Modality, darkest_first: tuple[int, ...]
) -> None:
    winner = subject.tissue.argmax(axis=0)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        contrast = Contrast.draw(modality, rng)
        levels = [contrast.tissue[value] for value in darkest_first]
        assert levels == sorted(levels)
        scan = contrast.paint(subject, no_glioma(subject), rng)
        pure = subject.tissue.max(axis=0) > 0.9
        means = [float(np.median(scan[pure & (winner == v)])) for v in darkest_first]
        # Texture, thick slices and the bias field blur close levels, but never by much.
        assert all(brighter > darker - 0.08 for darker, brighter in pairwise(means))


@pytest.mark.parametrize(
    ("modality", "brightest", "darker"),
    [
        (Modality.T1C, ENHANCING, CORE),
        (Modality.T1C, ENHANCING, OEDEMA),
        (Modality.FLAIR, OEDEMA, CORE),
        (Modality.DWI, ENHANCING, CORE),
        (Modality.ADC, CORE, ENHANCING),
    ],
)
def test_a_gliomas_parts_look_as_they_should_in_a_modality(
    subject: Anatomy, glioma: Glioma, modality: Modality, brightest: int, darker: int
) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        scan = Contrast.draw(modality, rng).paint(subject, glioma, rng)
        assert scan[glioma.part(brightest)].mean() > scan[glioma.part(darker)].mean()


def test_a_glioma_lies_in_the_brain_with_its_rim_around_its_core(
    subject: Anatomy, glioma: Glioma
) -> None:
    assert set(np.unique(glioma.labels)) == {0, CORE, OEDEMA, ENHANCING}
    assert not glioma.labels[~subject.brain].any()
    touching = np.zeros_like(glioma.labels, dtype=bool)
    for axis in range(3):
        for step in (-1, 1):
            touching |= np.roll(glioma.part(OEDEMA), step, axis)
    assert (touching & glioma.part(CORE)).sum() < 0.1 * glioma.part(CORE).sum()


def test_a_glioma_that_does_not_enhance_has_no_enhancing_part(subject: Anatomy) -> None:
    quiet = grow_glioma(subject, np.random.default_rng(1), enhancing=False)
    assert not quiet.enhancing and quiet.part(CORE).any()
    assert not no_glioma(subject).labels.any()


def test_background_is_exactly_zero_as_in_a_skull_stripped_scan(subject: Anatomy) -> None:
    for modality in BANK_ORDER:
        rng = np.random.default_rng(0)
        scan = Contrast.draw(modality, rng).paint(subject, no_glioma(subject), rng)
        assert np.count_nonzero(scan[~subject.brain]) == 0
        assert np.count_nonzero(scan[subject.brain]) > 0.99 * np.count_nonzero(subject.brain)
        assert scan.dtype == np.float32


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_keep_the_mean_and_a_ramp_and_blur_only_their_axis(axis: int) -> None:
    ramp = np.moveaxis(np.broadcast_to(np.arange(20, dtype=np.float32), (3, 4, 20)), 2, axis)
    thick = thick_slices(np.ascontiguousarray(ramp), axis, 4)
    inner = [slice(None)] * 3
    inner[axis] = slice(2, -2)
    np.testing.assert_allclose(thick[tuple(inner)], ramp[tuple(inner)], atol=1e-4)
    noise = np.random.default_rng(0).standard_normal((21, 22, 23)).astype(np.float32)
    assert thick_slices(noise, axis, 5).std() < 0.7 * noise.std()


def test_studies_of_another_seed_recipe_or_anatomy_are_not_taken_for_these(
    small_t1: Path, tmp_path: Path
) -> None:
    options = SynthesisOptions(
        tmp_path, "training", 1, Recipe((Modality.T1,), air=0), anatomy=small_t1
    )
    write_studies(options, processes=1, on_study=lambda: None)
    recipe = replace(options.recipe, healthy=0.5)
    for other in (replace(options, seed=1), replace(options, recipe=recipe)):
        with pytest.raises(InvalidDatalist, match="training-0000 was made with another seed"):
            write_studies(other, processes=1, on_study=lambda: None)
    write_studies(replace(options, studies=2), processes=1, on_study=lambda: None)


def test_written_studies_pass_the_dry_run_and_an_interrupted_call_goes_on(
    small_t1: Path, tmp_path: Path
) -> None:
    recipe = Recipe((Modality.T1, Modality.T2, Modality.PD), air=0)
    options = SynthesisOptions(tmp_path, "training", 2, recipe, anatomy=small_t1, missing=0.5)
    done: list[int] = []
    write_studies(options, processes=1, on_study=lambda: done.append(1))
    before = {p: p.read_bytes() for p in tmp_path.glob("*/*.nii.gz")}
    for path in (tmp_path / "training-0001").iterdir():
        path.unlink()
    (tmp_path / "training-0001").rmdir()
    path = write_studies(options, processes=1, on_study=lambda: done.append(1))
    assert len(done) == 4
    assert {p: p.read_bytes() for p in tmp_path.glob("*/*.nii.gz")} == before
    cases = read_datalist(path)
    assert len(cases) == 2 and check_cases(cases, None) == ()
    assert all(case.images and case.target for case in cases)
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"
    assert json.loads(path.read_text())["training"][0]["name"] == "training-0000"
    whom = population_of(path, "training")
    assert whom is not None and (whom.kind, whom.anatomy) == ("synthetic", "synthetic")
    assert small_t1.name.split(".")[0] in whom.description


def test_studies_in_real_brains_do_not_call_themselves_wholly_synthetic() -> None:
    drawn = population_of_recipe(WideRecipe(heads=(Path("a"),) * 4), "")
    assert drawn.kind == "synthetic" and "4 heads" in drawn.description
    mixed = population_of_recipe(WideRecipe(brains=(Path("b"),) * 2), "")
    assert (mixed.kind, mixed.anatomy) == ("mixed", "mixed")
    assert "2 real brains" in mixed.description
