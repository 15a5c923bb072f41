"""The preparation of raw studies: what breaks here hands a network a skull, or loses a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import (
    GridMismatch,
    ImplausibleBrain,
    MissingModality,
    NoBrain,
    RegistrationFailed,
    StudyTimedOut,
)
from brainmvp_models.modality import Modality
from brainmvp_models.space import Space
from brainmvp_models.task import Preprocessing, load_task
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Box, Grid
from brainmvp_server.imaging.nifti import Limits, encode_nifti, spatial_header
from brainmvp_server.imaging.study import Study, read_volumes
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.checked_study import CheckedStudy, check_study
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.preprocess import ModelSpace
from brainmvp_server.inference.result_space import PreparationReport, WorkedOn
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.atlas import atlas_of
from brainmvp_server.preparation.brain import BrainMask
from brainmvp_server.preparation.brain_network import BrainNetworks, dice
from brainmvp_server.preparation.co_register import co_register
from brainmvp_server.preparation.given_brain import given_brain
from brainmvp_server.preparation.inspect import inspect, is_plainly_ready
from brainmvp_server.preparation.look import RawStudy
from brainmvp_server.preparation.reference import reference_of
from brainmvp_server.preparation.resample import brought
from brainmvp_server.preparation.rigid import RigidTransform
from brainmvp_server.preparation.stage import (
    Means,
    PreparedStudy,
    StudyPreparation,
    grid_around,
    prepare_study,
)
from dicom_studies import affine_for
from drawn_head import draw_head

ROOT = Path(__file__).parents[3]
NAMES = ("t1", "t1c", "t2", "flair")
STILL = RigidTransform.identity()


@pytest.fixture(scope="module")
def glioma() -> Iterator[Predictor]:
    bundle = Bundle.open(ROOT / "examples" / "bundles" / "demo-glioma" / "1")
    with Predictor.load(bundle) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def preparation(glioma: Predictor) -> StudyPreparation:
    networks = BrainNetworks(glioma.worker)
    return StudyPreparation(Means(lambda: networks))


def sources(folder: Path, names: tuple[str, ...] = NAMES) -> dict[Modality, Path]:
    return {Modality(name): folder / f"{name}.nii.gz" for name in names}


@contextmanager
def untimed(_: str) -> Iterator[None]:
    yield


@pytest.fixture(scope="module")
def raw(glioma: Predictor, real_data: Callable[[str], Path]) -> PreparedStudy:
    """All four series of a real patient, prepared as the model wants them."""
    volumes = read_volumes(sources(real_data("clinical") / "fg6692" / "raw"))
    networks = BrainNetworks(glioma.worker)
    rules = glioma.bundle.task.preprocessing
    return prepare_study(volumes, rules, Means(lambda: networks), CancelToken(), untimed)


class AsMade:
    """Gives what was prepared before, which takes seconds, for whatever study comes."""

    def __init__(self, made: WorkedOn, preparation: StudyPreparation) -> None:
        self.made = made
        self.to_templates = preparation.to_templates

    def __call__(self, *_: object) -> WorkedOn:
        return self.made


@pytest.fixture(scope="module")
def two(
    glioma: Predictor, preparation: StudyPreparation, real_data: Callable[[str], Path]
) -> tuple[CheckedStudy, WorkedOn]:
    """Two of the series, asked for in model space, and what the stage makes of them."""
    study = sources(real_data("clinical") / "fg6692" / "raw", ("t1", "t2"))
    options = PredictOptions(space="model", fill="zeros")
    checked = check_study(study, glioma.bundle.task, options)
    return checked, preparation(checked, glioma.bundle.task, CancelToken(), untimed)


def test_a_prepared_study_gives_the_same_bits_as_without_the_stage(
    glioma: Predictor, preparation: StudyPreparation
) -> None:
    study = sources(ROOT / "examples" / "glioma_study", ("t1", "t1c", "t2"))
    checked = check_study(study, glioma.bundle.task)
    with_stage = glioma.predict_checked(checked, prepare=preparation)
    without = glioma.predict_checked(checked)
    assert with_stage.preparation is None
    np.testing.assert_array_equal(with_stage.mask, without.mask)
    assert with_stage.warnings == without.warnings
    tumour, unplaced = with_stage.structures[1], without.structures[1]
    assert tumour.side is not None and tumour.to_surface_mm is not None
    assert unplaced.side is None and unplaced.to_surface_mm is None, "no brain is known there"


def test_a_glance_never_calls_a_raw_study_ready(real_data: Callable[[str], Path]) -> None:
    clinical = real_data("clinical")
    raw = read_volumes(sources(clinical / "fg6692" / "raw"))
    assert not is_plainly_ready(raw)
    assert not any(is_plainly_ready([volume]) for volume in raw)
    assert not is_plainly_ready(read_volumes(sources(clinical / "du7294" / "brains")))
    assert is_plainly_ready(
        read_volumes(sources(ROOT / "examples" / "glioma_study", ("t1", "t1c", "t2")))
    )


def test_a_raw_study_comes_back_on_the_grid_that_was_asked_for(
    glioma: Predictor,
    preparation: StudyPreparation,
    raw: PreparedStudy,
    real_data: Callable[[str], Path],
) -> None:
    study = sources(real_data("clinical") / "fg6692" / "raw")
    checked = check_study(study, glioma.bundle.task)
    found = {}
    for target in raw.series:
        if target is not raw.reference and target.modality is not Modality.FLAIR:
            continue
        made = AsMade(raw.worked_on(target), preparation)
        result = glioma.predict_checked(checked, prepare=made)
        native = nib.load(study[target.modality])
        assert result.mask.shape == native.shape
        np.testing.assert_allclose(result.study.native.grid.affine, native.affine, atol=1e-5)
        found[target.modality] = result
    report = found[Modality.T1C].preparation
    assert report is not None and report.reference is Modality.T1C
    assert {one.modality for one in report.moved} == {Modality.T1, Modality.T2, Modality.FLAIR}
    assert report.brain_ml is not None and 1300 < report.brain_ml < 1800
    assert any("slices of 5.5 mm" in text for text in found[Modality.T1C].warnings)
    one, other = (
        next(part for part in found[space].structures if part.name == "WT")
        for space in (Modality.T1C, Modality.FLAIR)
    )
    assert one.volume_ml == pytest.approx(other.volume_ml, rel=0.1), "the same lesion on two grids"
    first, second = one.parts[0], other.parts[0]
    assert first.side == second.side is not None
    assert first.to_surface_mm == pytest.approx(second.to_surface_mm, abs=3)
    assert first.size.diameter_3d_mm == pytest.approx(second.size.diameter_3d_mm, rel=0.15)


def test_a_raw_studys_brain_is_where_a_peer_found_it(
    two: tuple[CheckedStudy, WorkedOn], real_data: Callable[[str], Path]
) -> None:
    study = two[1].study
    peer = nib.load(real_data("clinical") / "fg6692" / "reference" / "brain_t1.nii.gz")
    theirs, _ = interpolated(
        np.asarray(peer.dataobj, np.float32), Grid(peer.shape, peer.affine), study.native.grid
    )
    for volume in study.volumes:
        assert dice(volume.stored > 0, theirs >= 0.5) > 0.95, volume.modality


def test_series_on_one_grid_that_show_a_head_in_two_places_are_brought_together_or_refused(
    real_data: Callable[[str], Path],
) -> None:
    t1, t1c = read_volumes(sources(real_data("clinical") / "fg6692" / "raw", ("t1", "t1c")))
    assert inspect([t1, t1c]).one_grid
    (one,) = co_register([t1, t1c], t1c, CancelToken(), one_grid=True).values()
    assert 5 < one.moved_mm < 15, "as the headers have it, the patient moved by 9 mm"
    inside = brought(t1, t1c.grid, t1c.header, one.to_moving)
    assert co_register([inside, t1c], t1c, CancelToken(), one_grid=True) == {}
    other = replace(inside, stored=inside.stored[::-1])
    with pytest.raises(RegistrationFailed, match="t1: it does not fit the head that t1c shows"):
        co_register([other, t1c], t1c, CancelToken(), one_grid=True)


def test_a_head_upside_down_is_refused_also_where_a_task_has_no_atlas(
    real_data: Callable[[str], Path],
) -> None:
    def looks_for_a_brain() -> BrainNetworks:
        raise AssertionError("the brain is given")

    folder = real_data("clinical") / "fg6692"
    (t2,) = read_volumes(sources(folder / "raw", ("t2",)))
    mask = given_brain(folder / "reference" / "brain_t2.nii.gz", [t2], Limits())
    rules = Preprocessing(space=Space.STUDY)

    def prepared(volume: Volume, brain: BrainMask) -> PreparedStudy:
        raw = RawStudy(inspect([volume]), brain)
        return prepare_study([volume], rules, Means(looks_for_a_brain), CancelToken(), untimed, raw)

    assert prepared(t2, mask).report.turned_degrees is None
    axes = [t2.grid.orientation.axes[world] for world in (1, 2)]
    turned = replace(t2, stored=np.flip(t2.stored, axes))
    with pytest.raises(RegistrationFailed, match="upside down or back to front"):
        prepared(turned, replace(mask, mask=np.flip(mask.mask, axes)))


def test_a_result_in_model_space_says_where_it_lies(
    glioma: Predictor, preparation: StudyPreparation, two: tuple[CheckedStudy, WorkedOn]
) -> None:
    checked, made = two
    result = glioma.predict_checked(checked, prepare=AsMade(made, preparation))
    image = nib.Nifti1Image.from_bytes(encode_nifti(result.mask, result.study.native.header))
    np.testing.assert_allclose(image.affine, result.study.native.grid.affine, atol=1e-5)
    assert image.header.get_zooms() == (2.0, 2.0, 2.0)
    assert result.preparation is not None and result.preparation.reference is Modality.T1
    assert any("slices of 5.5 mm" in text for text in result.warnings)


def test_a_series_that_is_not_there_has_no_grid_to_ask_for_and_nothing_is_prepared_first(
    glioma: Predictor, real_data: Callable[[str], Path]
) -> None:
    def looks_for_a_brain() -> BrainNetworks:
        raise AssertionError("it was prepared before it was refused")

    study = sources(real_data("clinical") / "fg6692" / "raw", ("t1", "t2"))
    checked = check_study(study, glioma.bundle.task, PredictOptions(space="flair"))
    with pytest.raises(MissingModality, match="has no flair") as refused:
        glioma.predict_checked(checked, prepare=StudyPreparation(Means(looks_for_a_brain)))
    assert "t1, t2, model" in refused.value.remedy


def test_none_leaves_a_raw_study_to_be_refused_as_it_is(
    glioma: Predictor, preparation: StudyPreparation, real_data: Callable[[str], Path]
) -> None:
    study = sources(real_data("clinical") / "fg6692" / "raw", ("t1", "t2"))
    checked = check_study(study, glioma.bundle.task, PredictOptions(prepare="none"))
    with pytest.raises(GridMismatch):
        glioma.predict_checked(checked, prepare=preparation)


def test_a_head_that_nobody_prepares_is_answered_with_a_warning(
    glioma: Predictor, preparation: StudyPreparation, real_data: Callable[[str], Path]
) -> None:
    study = sources(real_data("clinical") / "fg6692" / "raw", ("t1",))
    checked = check_study(study, glioma.bundle.task, PredictOptions(prepare="none", fill="zeros"))
    result = glioma.predict_checked(checked, prepare=preparation)
    assert any("a head with its skull" in text for text in result.warnings)


def test_the_reference_is_the_series_a_reader_looks_at_first(
    real_data: Callable[[str], Path],
) -> None:
    volumes = read_volumes(sources(real_data("clinical") / "du7294" / "brains"))
    assert reference_of(volumes).modality is Modality.T1C
    assert reference_of(volumes[:1]).modality is Modality.T1


class Noting(Worker):
    """A worker that notes whether somebody waits for what it is given."""

    def __init__(self) -> None:
        super().__init__(NetworkCache())
        self.waited_for: list[bool] = []

    def run(self, study: StudyRun) -> Iterator[int]:
        self.waited_for.append(study.interactive)
        return super().run(study)


@pytest.mark.parametrize("interactive", [True, False])
def test_a_brain_is_looked_for_with_the_place_of_the_study_it_is_for(
    interactive: bool, tmp_path: Path
) -> None:
    worker = Noting()
    means = Means(lambda: BrainNetworks(worker))
    options = PredictOptions(fill="zeros", interactive=interactive)
    task = load_task("brats-ped")
    checked = check_study({Modality.T1: draw_head(tmp_path).series}, task, options)
    with pytest.raises((NoBrain, ImplausibleBrain)):
        StudyPreparation(means)(checked, task, CancelToken(), untimed)
    worker.close()
    assert set(worker.waited_for) == {interactive}


def test_one_brain_is_looked_for_at_a_time_and_who_waits_can_be_stopped() -> None:
    means = Means(lambda: BrainNetworks(None))  # type: ignore[arg-type]
    with (
        means.finding_a_brain(CancelToken()),
        pytest.raises(StudyTimedOut),
        means.serving(PredictOptions(interactive=False)).finding_a_brain(CancelToken(0.1)),
    ):
        pass
    with means.finding_a_brain(CancelToken()):
        pass


ANGLES = st.tuples(*[st.floats(-30, 30)] * 3)
SHIFTS = st.tuples(*[st.floats(-15, 15)] * 3)
PLANES = st.sampled_from(["axial", "coronal", "sagittal", "oblique"])
CENTRE = np.array([3.0, -7.0, 11.0])
RADIUS = 12.0


def _series(modality: Modality, plane: str, flip: bool) -> Volume:
    shape, spacing = (40, 40, 20), (1.5, 1.5, 4.0)
    affine = affine_for(plane, spacing, shape, reverse=flip, centre=tuple(CENTRE))  # type: ignore[arg-type]
    grid, header = Grid(shape, affine), spatial_header(affine)
    return Volume(modality, np.zeros(shape, np.int16), 1.0, 0.0, grid, header, "sha256:0")


def _frame(space: Space, turn: tuple[float, ...]) -> tuple[Grid, RigidTransform]:
    """A model's grid, and the way there from the reference's world."""
    atlas = atlas_of(space)
    if atlas is None:
        return grid_around(CENTRE + 40 * np.array([[-1.0] * 3, [1.0] * 3]), (1, 1, 1)), STILL
    middle = np.array([*np.array(atlas.grid.shape) / 2, 1.0])
    there = (atlas.grid.affine @ middle)[:3]
    return atlas.grid, RigidTransform.of_rotation(np.array(turn), there - CENTRE, CENTRE)


def _ball(affine: np.ndarray, shape: tuple[int, ...], centre: np.ndarray) -> np.ndarray:
    """Shares of the voxels that a ball fills, about."""
    index = np.indices(shape).reshape(3, -1)
    places = (affine[:3, :3] @ index + affine[:3, 3:]).T
    away = np.linalg.norm(places - centre, axis=1).reshape(shape)
    return np.clip(RADIUS - away + 0.5, 0, 1).astype(np.float32)


@given(
    space=st.sampled_from(Space),
    planes=st.tuples(PLANES, PLANES),
    flip=st.booleans(),
    wanted=st.sampled_from([Modality.T1C, Modality.FLAIR]),
    turn=ANGLES,
    brought=ANGLES,
    shift=SHIFTS,
)
@settings(deadline=None, max_examples=40)
def test_a_lesion_in_any_frame_comes_home_to_its_millimetres_on_the_grid_of_any_series(
    space: Space,
    planes: tuple[str, str],
    flip: bool,
    wanted: Modality,
    turn: tuple[float, ...],
    brought: tuple[float, ...],
    shift: tuple[float, ...],
) -> None:
    t1c, flair = (
        _series(modality, plane, flip)
        for modality, plane in zip((Modality.T1C, Modality.FLAIR), planes, strict=True)
    )
    grid, to_worked = _frame(space, turn)
    to_flair = RigidTransform.of_rotation(np.array(brought), np.array(shift), CENTRE)
    to_series = {Modality.T1C: STILL, Modality.FLAIR: to_flair}
    report = PreparationReport(Modality.T1C, space, None, None, (), None, (), None, bytes)
    prepared = PreparedStudy(
        Study((t1c,)), t1c, (t1c, flair), to_series, to_worked, None, report, ()
    )
    lesion = to_flair.inverse.apply(CENTRE) + np.array([2.0, -3.0, 1.0])
    canonical = grid.canonical()
    around = np.linalg.inv(canonical.affine) @ [*to_worked.apply(lesion), 1]
    x, y, z = (int(n) for n in np.floor(around[:3]))
    box = Box((x - 15, y - 15, z - 15), (x + 17, y + 17, z + 17))
    model = ModelSpace(grid, canonical.shape, canonical.shape, (1.0, 1.0, 1.0), box)
    found = _ball(model.affine, model.shape, to_worked.apply(lesion))
    target = t1c if wanted is Modality.T1C else flair
    back = prepared.onto(target).lookup(found, model) > 0.5
    home = to_series[wanted].apply(lesion)
    truth = _ball(target.grid.affine, target.grid.shape, home) > 0.5
    affine = target.grid.affine
    centre = np.argwhere(back).mean(axis=0), np.argwhere(truth).mean(axis=0)
    assert np.linalg.norm(affine[:3, :3] @ (centre[0] - centre[1])) < 0.5
    inside = np.argwhere(truth)
    wrong = [np.abs(inside - voxel).max(axis=1).min() for voxel in np.argwhere(back != truth)]
    assert max(wrong, default=0) <= 1
    assert dice(back, truth) > 0.9
