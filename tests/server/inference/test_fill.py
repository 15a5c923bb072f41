"""Missing modalities: what stands in, where, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from brainmvp_models.errors import MissingModality, TemplateMismatch, UnknownModality
from brainmvp_models.modality import Modality
from brainmvp_models.task import Channel, FillPolicy, load_task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.imaging.grid import Box, Grid, Shape
from brainmvp_server.inference.fill import Filled, check_modalities, fill_channels
from brainmvp_server.inference.preprocess import ModelSpace, Prepared

TASK = load_task("upenn-gbm")
TEMPLATE_SHAPE = (12, 14, 10)


def bank(*modalities: Modality) -> TemplateBank:
    rng = np.random.default_rng(0)
    return TemplateBank({m: rng.random(TEMPLATE_SHAPE).astype(np.float32) for m in modalities})


def prepared(full: Shape, box: Box, *real: Modality) -> Prepared:
    space = ModelSpace(Grid(full, np.eye(4)), full, full, (1.0, 1.0, 1.0), box)
    return Prepared(space, {m: np.ones(box.shape, np.float32) for m in real}, ())


def test_grid_puts_the_template_at_the_studys_own_indices() -> None:
    box = Box((2, 3, 1), (9, 12, 8))
    templates = bank(Modality.T2, Modality.T1C, Modality.FLAIR)
    study = prepared(TEMPLATE_SHAPE, box, Modality.T1)
    image, channels = fill_channels(study, TASK, templates, "grid")
    np.testing.assert_array_equal(image[0], 1)
    np.testing.assert_array_equal(image[2], templates.volumes[Modality.T2][box.slices])
    assert channels.real == (Modality.T1,)
    assert channels.filled[1] == Filled(Modality.T2, "grid", Modality.T2)


def test_grid_refuses_a_study_off_that_grid_and_names_the_remedy() -> None:
    study = prepared((20, 20, 20), Box((0, 0, 0), (20, 20, 20)), Modality.T1)
    with pytest.raises(TemplateMismatch, match=r"12 × 14 × 10.*center"):
        fill_channels(study, TASK, bank(*TASK.modalities), "grid")


@pytest.mark.parametrize("shape", [(6, 6, 6), (12, 14, 10), (17, 14, 9), (20, 21, 22), (11, 15, 3)])
def test_center_lays_centre_on_centre_and_leaves_zero_beyond_the_template(shape: Shape) -> None:
    study = prepared(shape, Box((0, 0, 0), shape), Modality.T1)
    templates = bank(*TASK.modalities)
    image = fill_channels(study, TASK, templates, "center")[0][3]
    template = templates.volumes[Modality.FLAIR]
    shift = [(t - s) // 2 for t, s in zip(TEMPLATE_SHAPE, shape, strict=True)]
    for index in np.ndindex(shape):
        place = tuple(i + d for i, d in zip(index, shift, strict=True))
        inside = all(0 <= p < n for p, n in zip(place, TEMPLATE_SHAPE, strict=True))
        assert image[index] == (template[place] if inside else 0)


def test_zeros_needs_no_template_and_says_so() -> None:
    study = prepared((8, 8, 8), Box((0, 0, 0), (8, 8, 8)), Modality.T2)
    image, channels = fill_channels(study, TASK, TemplateBank({}), "zeros")
    assert image[[0, 1, 3]].max() == 0
    assert {entry.template for entry in channels.filled} == {None}


def test_a_channel_may_be_filled_by_another_modalitys_template() -> None:
    task = load_task("mrbrains13")
    study = prepared((8, 8, 8), Box((0, 0, 0), (8, 8, 8)), Modality.FLAIR)
    image, channels = fill_channels(study, task, bank(Modality.T1, Modality.T2), "center")
    np.testing.assert_array_equal(image[0], image[1])
    assert channels.filled[1] == Filled(Modality.T1IR, "center", Modality.T1)


def test_a_template_the_bundle_lacks_is_named() -> None:
    study = prepared((8, 8, 8), Box((0, 0, 0), (8, 8, 8)), Modality.T1)
    with pytest.raises(TemplateMismatch, match="t1c: the bundle has no template for t1c"):
        fill_channels(study, TASK, bank(Modality.T2), "center")


@pytest.mark.parametrize("policy", ["grid", "center", "zeros", "none"])
def test_all_modalities_present_need_no_policy(policy: FillPolicy) -> None:
    check_modalities(TASK.modalities, TASK, policy)


def test_required_unknown_and_missing_modalities_are_refused() -> None:
    t1, _, *others = TASK.channels
    channels = (t1, Channel(modality=Modality.T1C, required=True), *others)
    strict = TASK.model_copy(update={"channels": channels})
    with pytest.raises(MissingModality, match="requires t1c"):
        check_modalities((Modality.T1,), strict, "center")
    with pytest.raises(UnknownModality, match="no channel for mra"):
        check_modalities((Modality.T1, Modality.MRA), TASK, "center")
    with pytest.raises(MissingModality, match="t1c, t2, flair missing"):
        check_modalities((Modality.T1,), TASK, "none")
    with pytest.raises(MissingModality, match="at least one"):
        check_modalities((), TASK, "zeros")


@pytest.mark.parametrize(
    ("policy", "template"), [("center", True), ("grid", True), ("zeros", False), ("none", False)]
)
def test_what_a_series_does_not_reach_is_filled_as_a_missing_modality_is(
    policy: FillPolicy, template: bool
) -> None:
    box = Box((2, 3, 1), (9, 12, 8))
    given = TASK.modalities if policy == "none" else (Modality.T1, Modality.T2)
    study = prepared(TEMPLATE_SHAPE, box, *given)
    beyond = np.zeros(box.shape, dtype=bool)
    beyond[:, :, 4:] = True
    study.unknown[Modality.T2] = beyond
    templates = bank(*TASK.modalities)
    index = TASK.modalities.index(Modality.T2)
    image, channels = fill_channels(study, TASK, templates, policy)
    whole = prepared(TEMPLATE_SHAPE, box, Modality.T1)
    missing = np.zeros(box.shape, np.float32)
    if template:
        missing = fill_channels(whole, TASK, templates, policy)[0][index]
    np.testing.assert_array_equal(image[index][beyond], missing[beyond])
    np.testing.assert_array_equal(image[index][~beyond], 1)
    assert Modality.T2 in channels.real


def test_a_template_that_has_no_place_leaves_what_is_not_reached_empty() -> None:
    box = Box((0, 0, 0), (6, 6, 6))
    study = prepared((20, 20, 20), box, *TASK.modalities)
    study.unknown[Modality.T2] = np.ones(box.shape, dtype=bool)
    image, _ = fill_channels(study, TASK, bank(*TASK.modalities), "grid")
    assert not image[TASK.modalities.index(Modality.T2)].any()


def test_grid_refuses_a_study_that_only_looks_like_that_grid_without_its_padding() -> None:
    space = ModelSpace(
        Grid((30, 30, 30), np.eye(4)), TEMPLATE_SHAPE, TEMPLATE_SHAPE, (1.0, 1.0, 1.0),
        Box((0, 0, 0), TEMPLATE_SHAPE), (5, 6, 7),
    )  # fmt: skip
    study = Prepared(space, {Modality.T1: np.ones(TEMPLATE_SHAPE, np.float32)}, ())
    with pytest.raises(TemplateMismatch, match="30 × 30 × 30"):
        fill_channels(study, TASK, bank(*TASK.modalities), "grid")


COARSE = TASK.model_copy(
    update={"preprocessing": TASK.preprocessing.model_copy(update={"spacing_mm": (5.0, 5.0, 5.0)})}
)
ON_SRI24: Shape = (48, 48, 31)
"""The templates' grid in voxels of 5 mm."""


def coarse_bank(*modalities: Modality, shape: Shape = ON_SRI24) -> TemplateBank:
    rng = np.random.default_rng(0)
    return TemplateBank({m: rng.random(shape).astype(np.float32) for m in modalities})


def in_own_space(shape: Shape, *real: Modality) -> Prepared:
    """A study of 5 mm whose first voxel lies at the origin of its world."""
    grid, box = Grid(shape, np.diag([5.0, 5.0, 5.0, 1.0])), Box((0, 0, 0), shape)
    space = ModelSpace(grid, shape, shape, (1.0, 1.0, 1.0), box)
    return Prepared(space, {m: np.ones(shape, np.float32) for m in real}, ())


def test_register_puts_each_template_where_the_registration_says_and_zero_beyond() -> None:
    first, turned = (10, 4, 6), np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    across = np.eye(4)
    across[:3, :3] = turned
    # Voxel (0, 0, 0) of the templates' grid lies at (-237, 2, 2) mm of SRI24's world.
    across[:3, 3] = np.add((-237.0, 2.0, 2.0), np.multiply(5.0, first))
    templates = coarse_bank(*COARSE.modalities)
    study = in_own_space((20, 12, 27), Modality.T1)
    image, channels = fill_channels(study, COARSE, templates, "register", lambda: across)
    template = templates.volumes[Modality.FLAIR]
    for index in np.ndindex(20, 12, 27):
        place = np.rint(turned @ index).astype(int) + first
        inside = ((place >= 0) & (place < ON_SRI24)).all()
        assert image[3][index] == pytest.approx(template[tuple(place)] if inside else 0, abs=1e-4)
    assert channels.filled[2] == Filled(Modality.FLAIR, "register", Modality.FLAIR)


@pytest.mark.parametrize(
    ("study", "shape", "words"),
    [
        (in_own_space(ON_SRI24, Modality.T1), ON_SRI24, "lies on the templates' grid.*policy grid"),
        (in_own_space((9, 9, 9), Modality.T1), (9, 9, 9), "needs templates on the SRI24 grid"),
        (in_own_space((9, 9, 9), Modality.T1), ON_SRI24, "needs the atlas"),
    ],
    ids=["on the grid", "other templates", "no atlas"],
)
def test_register_is_refused_in_plain_words_where_it_has_no_meaning(
    study: Prepared, shape: Shape, words: str
) -> None:
    with pytest.raises(TemplateMismatch, match=words):
        fill_channels(study, COARSE, coarse_bank(*COARSE.modalities, shape=shape), "register")


def test_register_asks_for_no_registration_where_nothing_is_missing() -> None:
    def never() -> np.ndarray:
        raise AssertionError("every channel is the patient's")

    study = in_own_space((9, 9, 9), *COARSE.modalities)
    image, channels = fill_channels(study, COARSE, TemplateBank({}), "register", never)
    assert channels.filled == () and (image == 1).all()
