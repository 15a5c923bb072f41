"""A bundle that knows its training's figures warns of what is unlike them, and of nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from brainmvp_evaluation.agent_contrast import agent_contrast_of
from brainmvp_evaluation.describe_training import FILE
from brainmvp_evaluation.describe_training import main as describe_training
from brainmvp_evaluation.evaluate import content_digest
from brainmvp_evaluation.training_distribution import contrasts_of, limits_of, ranges_of
from brainmvp_models.amend import amended
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidBundle
from brainmvp_models.modality import Modality
from brainmvp_models.training_distribution import LesionLoad, TrainingDistribution
from brainmvp_server.inference.figures import StudyFigures, study_figures
from brainmvp_server.inference.measure import Structure
from brainmvp_server.inference.out_of_distribution import (
    looks_at_agent,
    outside_lesion_load,
    outside_training,
)
from brainmvp_server.preparation.predictor import Predictor
from drawn_brains import SHAPE, VOXEL_MM, drawn_study, written_list
from limited_bundle import PEOPLE
from once import Once

T1, T1C, T2, FLAIR = Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR
PD = Modality.PD
SERIES = (T1, T1C, T2, FLAIR)
VOXEL = (VOXEL_MM, VOXEL_MM, VOXEL_MM)
UNSEEN = range(100, 105)


@pytest.fixture(scope="module")
def training() -> TrainingDistribution:
    seen = [study_figures(drawn_study(seed), VOXEL) for seed in range(24)]
    held_out = [study_figures(drawn_study(seed), VOXEL) for seed in range(24, 48)]
    contrasts = contrasts_of(seen, SERIES)
    return TrainingDistribution(
        studies=24,
        datalist="",
        calibrated_on=24,
        calibration_list="",
        false_alarms=0,
        command="drawn for tests",
        evaluator="",
        created="2026-01-01T00:00:00Z",
        ranges=ranges_of(seen),
        contrasts=contrasts,
        limits=limits_of(held_out, contrasts),
        agent=agent_contrast_of(seen, held_out),
        lesion_load=(LesionLoad(output="WT", most_ml=80),),
    )


def given(seed: int, contents: Mapping[Modality, Modality], size: float = 1.0) -> StudyFigures:
    """An unseen study whose series of one kind hold what belongs to another."""
    images = drawn_study(seed, size)
    return study_figures({name: images[content] for name, content in contents.items()}, VOXEL)


def said(figures: StudyFigures, training: TrainingDistribution) -> list[str]:
    return [one.kind for one in outside_training(figures, training)]


@pytest.mark.parametrize("subset", [SERIES, (T2, FLAIR), (T1,)])
def test_studies_like_the_trainings_are_not_warned_of(
    training: TrainingDistribution, subset: tuple[Modality, ...]
) -> None:
    right = [said(given(seed, {m: m for m in subset}), training) for seed in UNSEEN]
    assert [kinds for kinds in right if kinds] == []


@pytest.mark.parametrize("pair", [(T2, FLAIR), (T1, T2), (T1, T1C)])
def test_two_series_that_were_exchanged_are_named(
    training: TrainingDistribution, pair: tuple[Modality, Modality]
) -> None:
    one, other = pair
    for seed in UNSEEN:
        contents = {m: m for m in SERIES} | {one: other, other: one}
        (found,) = outside_training(given(seed, contents), training)
        assert found.kind == "exchanged"
        assert {one.value, other.value} <= set(found.sentence.replace(";", "").split())


@pytest.mark.parametrize(("name", "content"), [(FLAIR, T2), (T2, T1), (T1, T1C), (T1C, T1)])
def test_a_series_of_another_kind_is_named_even_alone(
    training: TrainingDistribution, name: Modality, content: Modality
) -> None:
    (found,) = outside_training(given(100, {name: content}), training)
    assert found.sentence.startswith(
        f"unlike the model's training: the series given as {name} looks like {content}; check"
    )
    assert ("contrast agent" in found.remedy) is ({name, content} == {T1, T1C})


@pytest.mark.parametrize(("shown", "before"), [(T1C, T1), (T1, T1C)])
def test_t1_and_t1c_that_show_the_agent_alike_are_named(
    training: TrainingDistribution, shown: Modality, before: Modality
) -> None:
    for seed in UNSEEN:
        images = drawn_study(seed)
        images[T1], images[T1C] = (taken_again(images[shown], seed + i) for i in (0, 1))
        (found,) = outside_training(study_figures(images, VOXEL), training)
        assert found.kind == "contrast-agent"
        assert found.remedy.endswith(f"before the {before}")


def taken_again(image: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.05, image.shape)
    return np.where(image > 0, np.maximum(image + noise, 0.05), 0).astype(np.float32)


def test_figures_of_before_say_nothing_of_contrast_agent(training: TrainingDistribution) -> None:
    text = training.model_dump_json(exclude={"agent"})
    before = TrainingDistribution.model_validate_json(text)
    assert before.agent is None
    images = drawn_study(100)
    images[T1] = taken_again(images[T1C], 0)
    assert not looks_at_agent(images, before) and looks_at_agent(images, training)
    assert not looks_at_agent((T1, T2), training)
    assert "contrast-agent" not in said(study_figures(images, VOXEL), before)
    without = study_figures(images, VOXEL, agent=False)
    assert said(without, before) == said(study_figures(images, VOXEL), before)
    assert said(given(100, {T1: T1C, T1C: T1}), before) == ["exchanged"]


def test_few_studies_with_t1_and_t1c_teach_nothing_of_contrast_agent() -> None:
    images = drawn_study(0)
    both = [study_figures(images, VOXEL)] * 20
    one = [study_figures({T1: images[T1], T2: images[T2]}, VOXEL)] * 20
    assert agent_contrast_of(both, both) is not None
    assert agent_contrast_of([*one, *both[1:]], both) is None
    assert agent_contrast_of(both, [*one, *both[1:]]) is None


def test_one_image_under_two_names_is_told_from_two_like_ones(
    training: TrainingDistribution,
) -> None:
    images = drawn_study(100)
    again = np.where(images[T1] > 0, 3 * images[T1] + 0.01, 0).astype(np.float32)
    assert "same-image" in said(study_figures({T1: images[T1], T1C: again}, VOXEL), training)
    assert study_figures({T1: images[T1], T1C: images[T1C]}, VOXEL).same == ()


def test_brains_of_another_size_and_other_intensities_are_outside(
    training: TrainingDistribution,
) -> None:
    small = outside_training(given(100, {T1: T1}, size=0.6), training)
    assert "volume" in {one.kind for one in small}
    assert all("adult" in one.remedy for one in small if one.kind in ("volume", "extent"))
    image = drawn_study(100)[T1]
    flat = np.where(image > 0, 1, 0).astype(np.float32)
    assert "intensity" in said(study_figures({T1: flat}, VOXEL), training)


def test_studies_too_odd_for_figures_are_compared_by_what_they_have(
    training: TrainingDistribution,
) -> None:
    empty = study_figures({T1: np.zeros(SHAPE, np.float32)}, VOXEL)
    assert said(empty, training) == ["extent", "extent", "extent", "volume"]
    speck = np.zeros(SHAPE, np.float32)
    speck[20:24, 20:24, 20:24] = 1
    assert study_figures({T1: speck}, VOXEL).series[T1].pattern is None
    assert "volume" in said(study_figures({T1: speck, PD: speck}, VOXEL), training)


def test_more_of_an_output_than_any_training_study_had_is_said(
    training: TrainingDistribution,
) -> None:
    structures = [_structure(120.0), _structure(60.0)]
    (found,) = outside_lesion_load(structures, training)
    assert found.kind == "lesion-load" and "120 mL" in found.seen and "80 mL" in found.seen


def _structure(ml: float) -> Structure:
    return Structure("WT", "whole tumour", None, (1,), "#5cb85c", 0, ml, 1, None, None, ())


@pytest.fixture(scope="module")
def described(once: Once, coarse_bundle: Bundle) -> tuple[Bundle, Path]:
    """A bundle with figures of drawn studies, by the command, and their list."""

    def make(folder: Path) -> None:
        shutil.copytree(coarse_bundle.root, folder / "tiny" / "1")
        listed = written_list(folder / "studies", 20, 20)
        assert describe_training([str(folder / "tiny"), str(listed)]) == 0

    folder = once("described-bundle", make)
    return Bundle.open(folder / "tiny" / "1"), folder / "studies"


def test_the_command_changes_what_a_bundle_says_and_not_what_it_predicts(
    described: tuple[Bundle, Path], coarse_bundle: Bundle
) -> None:
    bundle, _ = described
    assert bundle.digest != coarse_bundle.digest
    assert content_digest(bundle) == content_digest(coarse_bundle)
    found = bundle.training_distribution
    assert found is not None and (found.studies, found.calibrated_on) == (20, 20)
    assert found.false_alarms <= 0.1 and "/" not in found.command
    assert found.population == found.calibration_population == PEOPLE
    card = (bundle.root / "card.md").read_text(encoding="utf-8")
    assert "## Unlike its training" in card and card.count(f"(patient: {PEOPLE.description})") == 2
    assert (bundle.root / FILE).stat().st_size < 100_000


def test_a_prediction_carries_the_warning_and_counts_it(described: tuple[Bundle, Path]) -> None:
    bundle, studies = described
    folder = studies / "validation-25"
    with Predictor.load(bundle) as predictor:
        counted: list[str] = []
        predictor.worker.study_outside = (  # type: ignore[method-assign]
            lambda model, kind: counted.append(f"{model} {kind}")
        )
        result = predictor.predict(
            {T2: folder / "flair.nii.gz", FLAIR: folder / "t2.nii.gz"}, fill="zeros"
        )
    said = [w for w in result.warnings if w.startswith("unlike the model's training: ")]
    assert any("t2 and flair look as if they were exchanged" in warning for warning in said)
    assert "tiny exchanged" in counted and len(counted) == len(said)


def test_a_bundle_whose_figures_are_damaged_is_refused_by_name(
    described: tuple[Bundle, Path], tmp_path: Path
) -> None:
    shutil.copytree(described[0].root, tmp_path / "tiny" / "1")
    copied = Bundle.open(tmp_path / "tiny" / "1")
    found = copied.training_distribution
    assert found is not None
    contrast = found.contrasts[0].model_copy(update={"weights": b"few"})
    short = found.model_copy(update={"contrasts": (contrast,)}).model_dump_json()
    assert found.agent is not None
    alone = found.agent.between  # which has fewer weights
    agent = found.agent.model_copy(update={"alone": alone})
    other = found.model_copy(update={"agent": agent}).model_dump_json()
    for text, problem in (("{}", "studies"), (short, "weights"), (other, "weights")):
        with pytest.raises(InvalidBundle, match=f"{FILE} does not.*{problem}.*describe_training"):
            amended(copied, copied.manifest, lambda card: card, {FILE: text})
    assert Bundle.open(copied.root).digest == copied.digest


def test_too_few_studies_are_refused_with_the_remedy(
    described: tuple[Bundle, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _ = described
    few = written_list(tmp_path / "few", 2, 1)
    assert describe_training([str(bundle.root), str(few)]) == 2
    assert "list.json" in (said := capsys.readouterr().err) and "at least 20" in said


def test_a_series_has_the_same_figures_with_others_and_alone() -> None:
    images = drawn_study(100)
    whole, alone = study_figures(images, VOXEL), study_figures({T2: images[T2]}, VOXEL)
    assert whole.series[T2].values == alone.series[T2].values
    pattern = whole.series[T2].pattern
    assert pattern is not None and np.array_equal(pattern, alone.series[T2].pattern)
