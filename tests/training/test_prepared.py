"""Training prepares and fills studies as the service does."""

from __future__ import annotations

import os
import resource
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidDatalist, InvalidTask, TemplateMismatch
from brainmvp_models.modality import Modality
from brainmvp_models.task import FillPolicy, Preprocessing, load_task
from brainmvp_models.templates import TEMPLATE_SHAPE, TemplateBank, minmax_scaled
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.study import read_study
from brainmvp_server.inference.fill import fill_channels
from brainmvp_server.inference.preprocess import Prepared, prepare
from brainmvp_training.case import Case
from brainmvp_training.datalist import read_datalist
from brainmvp_training.mixing import ChannelFiller, OftenMissing, check_missing, draw_hidden
from brainmvp_training.prepared import PreparedStudy, prepare_studies
from brainmvp_training.windows import WindowPlace


@pytest.fixture(scope="module")
def bank() -> TemplateBank:
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((4, 24, 24, 16), dtype=np.float32)
    fine = coarse.repeat(10, 1).repeat(10, 2).repeat(10, 3)[..., : TEMPLATE_SHAPE[2]]
    modalities = (Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR)
    return TemplateBank(dict(zip(modalities, fine, strict=True)))


@pytest.fixture(scope="module", params=[(1, 1, 1), (2, 2, 1.5)], ids=["1mm", "coarse"])
def both(
    request: pytest.FixtureRequest, small_studies: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PreparedStudy, Prepared]:
    """One study, prepared for training and by the service."""
    preprocessing = Preprocessing(spacing_mm=request.param)
    case = read_datalist(small_studies)[0]
    cache = tmp_path_factory.mktemp("cache")
    (training,) = prepare_studies((case,), preprocessing, cache)
    return training, prepare(read_study(dict(case.images), Limits()), preprocessing)


def test_training_sees_the_voxels_that_the_service_will_show(
    both: tuple[PreparedStudy, Prepared],
) -> None:
    training, served = both
    assert training.shape == served.space.shape and training.full == served.space.full
    assert training.start == served.space.box.start
    for index, modality in enumerate(training.modalities):
        np.testing.assert_allclose(
            training.image[index], served.images[modality], atol=2e-3, rtol=2e-3
        )


@pytest.fixture(scope="module")
def resampled(both: tuple[PreparedStudy, Prepared], bank: TemplateBank) -> TemplateBank:
    """The bank at the study's spacing."""
    return bank.at_spacing(training_spacing(*both))


@pytest.mark.parametrize("scaling", ["raw", "minmax"])
def test_training_fills_missing_modalities_as_the_service_does(
    both: tuple[PreparedStudy, Prepared], bank: TemplateBank, resampled: TemplateBank, scaling: str
) -> None:
    training, served = both
    base = load_task("upenn-gbm")
    policy: FillPolicy = "center"
    spacing = tuple(e for e in training_spacing(training, served))
    task = base.model_copy(
        update={
            "filling": base.filling.model_copy(update={"policy": policy, "scaling": scaling}),
            "preprocessing": Preprocessing(spacing_mm=spacing),
        }
    )
    hidden = (Modality.T1C, Modality.FLAIR)
    ours = ChannelFiller.of(task, bank).volume(training, hidden)
    kept = Prepared(
        served.space,
        {m: v for m, v in served.images.items() if m not in hidden},
        served.warnings,
    )
    scaled = resampled
    if scaling == "minmax":
        scaled = TemplateBank({m: minmax_scaled(v) for m, v in scaled.volumes.items()})
    theirs, _ = fill_channels(kept, task, scaled, policy)
    np.testing.assert_allclose(ours, theirs, atol=2e-3, rtol=2e-3)


def training_spacing(training: PreparedStudy, served: Prepared) -> tuple[float, float, float]:
    x, y, z = (1 / scale for scale in served.space.scale)
    return round(x, 6), round(y, 6), round(z, 6)


def test_a_window_is_the_whole_volumes_part_also_under_a_template(
    both: tuple[PreparedStudy, Prepared], bank: TemplateBank
) -> None:
    training, _ = both
    task = load_task("upenn-gbm")
    task = task.model_copy(update={"filling": task.filling.model_copy(update={"policy": "center"})})
    filler = ChannelFiller.of(task, bank)
    whole = filler.volume(training, (Modality.T1,))
    place = WindowPlace((3, -4, 5), 24)
    window = filler.channels(training, place, (Modality.T1,))
    np.testing.assert_array_equal(window, place.cut(whole))


def test_a_study_off_the_template_grid_is_refused_before_training_where_the_policy_is_grid(
    both: tuple[PreparedStudy, Prepared], bank: TemplateBank
) -> None:
    task = load_task("upenn-gbm")
    filler = {
        policy: ChannelFiller.of(
            task.model_copy(update={"filling": task.filling.model_copy(update={"policy": policy})}),
            bank,
        )
        for policy in ("center", "grid")
    }
    whole, part = both[0], replace(both[0], modalities=both[0].modalities[:1])
    filler["center"].check(part, ())
    filler["grid"].check(replace(part, full=TEMPLATE_SHAPE), ())
    filler["grid"].check(whole, ())  # nothing of it is ever filled
    for study, hideable in ((part, ()), (whole, (Modality.T1,))):
        with pytest.raises(TemplateMismatch, match="does not lie on the template grid"):
            filler["grid"].check(study, hideable)


def test_a_study_is_prepared_once_until_its_file_changes(
    small_studies: Path, tmp_path: Path
) -> None:
    cases = read_datalist(small_studies)[:1]
    prepare_studies(cases, Preprocessing(), tmp_path)
    (first,) = tmp_path.iterdir()
    stamp = (first / "image.npy").stat().st_mtime_ns
    prepare_studies(cases, Preprocessing(), tmp_path)
    assert (first / "image.npy").stat().st_mtime_ns == stamp and len(list(tmp_path.iterdir())) == 1
    os.utime(cases[0].images[Modality.T1])
    prepare_studies(cases, Preprocessing(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A brain whose scans are the same but for their brightness."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    voxels = np.random.default_rng(0).random((24, 20, 16), dtype=np.float32)
    for name, brightness in (("t1", 1), ("flair", 2)):
        nib.save(nib.Nifti1Image(voxels * brightness, affine), tmp_path / f"{name}.nii.gz")
    names = {Modality.T1: "t1", Modality.FLAIR: "flair"}
    return Case("A", {m: tmp_path / f"{name}.nii.gz" for m, name in names.items()})


@pytest.mark.parametrize("turn", [[[0, -1], [1, 1], [2, 1]], [[1, 1], [2, -1], [0, 1]]])
def test_scans_of_one_grid_stay_together_however_their_axes_are_stored(
    case: Case, turn: list[list[int]], tmp_path: Path
) -> None:
    path = case.images[Modality.FLAIR]
    turned = nib.load(path).as_reoriented(np.array(turn))
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj)[..., None], turned.affine), path)
    (prepared,) = prepare_studies((case,), Preprocessing(), tmp_path / "cache")
    np.testing.assert_allclose(prepared.image[0], prepared.image[1], atol=2e-3)


@pytest.mark.parametrize(
    ("voxels", "problem"),
    [
        (np.full((24, 20, 16), np.nan), "A, flair: holds NaN or infinite voxels"),
        (np.full((24, 20, 16), 7.0), "A, flair: all its voxels have one value"),
        (np.eye(24)[:, :20, None] * np.full(16, 1e9) + np.linspace(0, 1, 20)[:, None],
         "A, flair: a voxel is more than 65,504 times as bright"),
    ],
    ids=["not a number", "constant", "beyond half precision"],
)  # fmt: skip
def test_a_scan_that_would_spoil_training_is_refused_by_name(
    case: Case, tmp_path: Path, voxels: np.ndarray, problem: str
) -> None:
    image = nib.Nifti1Image(voxels.astype(np.float32), np.eye(4))
    nib.save(image, case.images[Modality.FLAIR])
    with pytest.raises(InvalidDatalist, match=problem):
        prepare_studies((case,), Preprocessing(), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.filterwarnings("ignore:Divide by zero")  # MONAI: its percentiles are equal
def test_a_scan_below_its_background_everywhere_is_refused_by_name(
    case: Case, tmp_path: Path
) -> None:
    rare = np.zeros((24, 20, 16), np.float32)
    rare[0, 0, 0] = -1
    for path in case.images.values():
        nib.save(nib.Nifti1Image(rare, np.eye(4)), path)
    with pytest.raises(InvalidDatalist, match="A: no voxel is brighter than the background"):
        prepare_studies((case,), Preprocessing(), tmp_path / "cache")


def test_a_list_may_be_longer_than_the_files_that_a_process_may_open(
    small_studies: Path, tmp_path: Path
) -> None:
    cases = read_datalist(small_studies)[:1]
    prepare_studies(cases, Preprocessing(), tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, limits[1]))
    try:
        studies = prepare_studies(cases * 50, Preprocessing(), tmp_path)
        assert all(study.image.shape[1:] == study.label.shape == study.shape for study in studies)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_modality_that_the_task_has_not_cannot_widen_the_foreground(
    case: Case, tmp_path: Path
) -> None:
    small, wide = np.zeros((2, 24, 20, 16), np.float32)
    small[8:20, 4:16, 4:12] = np.random.default_rng(0).random((12, 12, 8)) + 1
    wide[:] = np.random.default_rng(1).random(wide.shape)
    for modality, voxels in ((Modality.T1, small), (Modality.FLAIR, wide)):
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), case.images[modality])
    cases = (case, case.limited_to([Modality.T1, Modality.T2]))
    both, one = prepare_studies(cases, Preprocessing(), tmp_path / "cache")
    assert both.shape == (24, 20, 16) and one.shape == (14, 14, 10)
    assert one.modalities == (Modality.T1,)


def test_a_template_that_shows_nothing_is_named(bank: TemplateBank) -> None:
    flat = {**bank.volumes, Modality.T2: np.zeros(TEMPLATE_SHAPE, np.float32)}
    task = load_task("upenn-gbm")
    assert ChannelFiller.of(task, TemplateBank(flat)).blank == (Modality.T2,)
    assert ChannelFiller.of(task, bank).blank == ()


def test_channels_keep_their_modality_when_a_case_names_its_files_in_another_order(
    case: Case, tmp_path: Path
) -> None:
    other = replace(case, images=dict(reversed(case.images.items())), name="B")
    assert [*other.images] == [Modality.FLAIR, Modality.T1]
    blank = np.zeros((24, 20, 16), np.float32)
    blank[4:20, 4:16, 4:12] = np.random.default_rng(1).random((16, 12, 8))
    nib.save(nib.Nifti1Image(blank, np.eye(4)), case.images[Modality.FLAIR])
    one, two = prepare_studies((case, other), Preprocessing(), tmp_path / "cache", threads=1)
    np.testing.assert_array_equal(one.image[0], two.image[1])
    np.testing.assert_array_equal(one.image[1], two.image[0])


def test_a_view_hides_no_required_modality_and_always_keeps_one() -> None:
    rng = np.random.default_rng(0)
    present = (Modality.T1, Modality.T2, Modality.FLAIR)
    seen = [draw_hidden(present, (Modality.T2,), rng, 9) for _ in range(200)]
    assert all(Modality.T2 not in hidden for hidden in seen)
    assert {len(hidden) for hidden in seen} == {0, 1, 2}
    free = [draw_hidden(present, (), rng, 9) for _ in range(200)]
    assert max(len(hidden) for hidden in free) == 2
    assert all(draw_hidden((Modality.T1,), (), rng, 3) == () for _ in range(5))


def test_what_is_often_missing_is_hidden_in_its_share_of_views_and_the_last_scan_stays() -> None:
    rng = np.random.default_rng(0)
    present = (Modality.T1, Modality.T2, Modality.FLAIR)
    often = (OftenMissing.parse("flair=0.5"), OftenMissing.parse("T1w+t2=0.2"))
    seen = Counter(draw_hidden(present, (), rng, 1, often) for _ in range(3000))
    # The other 0.3 of views hide nothing or one of three: a half, and a sixth each.
    shares = {
        (): 0.15,
        (Modality.FLAIR,): 0.55,
        (Modality.T1,): 0.05,
        (Modality.T2,): 0.05,
        (Modality.T1, Modality.T2): 0.2,
    }
    assert {hidden: n / 3000 for hidden, n in seen.items()} == pytest.approx(shares, abs=0.03)
    alone = {draw_hidden((Modality.FLAIR,), (), rng, 3, often) for _ in range(20)}
    assert alone == {()}
    lacking = Counter(draw_hidden(present[1:], (), rng, 0, often) for _ in range(1000))
    assert lacking[(Modality.T2,)] / 1000 == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize(
    ("said", "most", "problem"),
    [
        (["flair"], 3, "does not say what is often missing"),
        (["flair=1.5"], 3, "does not say what is often missing"),
        (["flair=nan"], 3, "does not say what is often missing"),
        (["flair+=0.1"], 3, "does not say what is often missing"),
        (["flair=0.6", "t1=0.6"], 3, "more views than there are"),
        (["t1+t1c+t2+flair=0.1"], 3, "all modalities"),
        (["adc=0.1"], 3, "does not take"),
        (["flair=0.1"], 0, "hide nothing"),
    ],
)
def test_what_cannot_be_missing_is_refused(said: list[str], most: int, problem: str) -> None:
    with pytest.raises(InvalidTask, match=problem):
        check_missing(tuple(map(OftenMissing.parse, said)), load_task("upenn-gbm"), most)
