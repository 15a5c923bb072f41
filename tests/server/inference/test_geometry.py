"""A mask lies where the scan lies, whatever the scan's axes, spacing and rotation are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_models.errors import VolumeTooLarge
from brainmvp_models.modality import Modality
from brainmvp_models.task import ClassOutputs, Label, Preprocessing, Region, RegionOutputs
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.study import Study
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.inference.intensity import intensity_scale
from brainmvp_server.inference.measure import measure
from brainmvp_server.inference.postprocess import segment
from brainmvp_server.inference.preprocess import prepare

LESION = RegionOutputs(
    regions=(Region(name="lesion", labels=(7,)),), labels=(Label(value=7, name="lesion"),)
)


@st.composite
def scans(draw: st.DrawFn) -> tuple[Grid, NDArray[np.float64]]:
    """A grid of 60 to 90 mm without shear, and the place of a blob well inside it, in mm."""
    order = draw(st.permutations(range(3)))
    axes = np.eye(3)[:, order] * draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    turn = np.eye(3)
    for axis in range(3):
        angle = draw(st.floats(-0.6, 0.6))
        i, j = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[i, i] = step[j, j] = np.cos(angle)
        step[j, i], step[i, j] = np.sin(angle), -np.sin(angle)
        turn = turn @ step
    spacing = np.array(draw(st.tuples(*[st.floats(0.6, 4.0)] * 3)))
    extent = np.array(draw(st.tuples(*[st.floats(60, 90)] * 3)))
    x, y, z = (int(n) for n in np.ceil(extent / spacing))
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * spacing
    affine[:3, 3] = draw(st.tuples(*[st.floats(-150, 150)] * 3))
    place = np.array(draw(st.tuples(*[st.floats(0.35, 0.65)] * 3))) * (np.array((x, y, z)) - 1)
    return Grid((x, y, z), affine), affine[:3, :3] @ place + affine[:3, 3]


def blob(grid: Grid, centre: NDArray[np.float64], radius: float) -> NDArray[np.float32]:
    """A smooth ball: 1 at its centre, one half at its radius, 0 far away."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"))
    world = np.tensordot(grid.affine[:3, :3], index, axes=1) + grid.affine[:3, 3, None, None, None]
    distance = np.linalg.norm(world - centre[:, None, None, None], axis=0)
    return np.clip(1 - distance / (2 * radius), 0, 1).astype(np.float32)


def volume(grid: Grid, voxels: NDArray[np.float32]) -> Volume:
    stored = np.asfortranarray(voxels)
    return Volume(Modality.T1, stored, 1.0, 0.0, grid, SpatialHeader({}), "sha256:0")


@given(scans())
@settings(deadline=None, max_examples=60)
def test_a_blob_comes_back_at_its_millimetres_on_the_scans_own_grid(
    scan: tuple[Grid, NDArray[np.float64]],
) -> None:
    grid, centre = scan
    study = Study.of([volume(grid, blob(grid, centre, 12))])
    prepared = prepare(study, Preprocessing(percentiles=(0, 100)))
    image = prepared.images[Modality.T1]
    assert image.shape == prepared.space.shape
    level = 0.5 / blob(grid, centre, 12).max()  # the scale has made the largest voxel 1
    logits = (20 * (image - np.float32(level)))[np.newaxis]
    segmentation = segment(logits, prepared.space, LESION, probabilities=True)
    assert segmentation.mask.shape == grid.shape
    assert segmentation.probabilities[0].shape == grid.shape
    (found,) = measure(segmentation.outputs, LESION, grid)
    assert found.centroid_mm is not None
    off = np.linalg.norm(np.array(found.centroid_mm) - centre)
    assert off <= max(1.0, *grid.spacing)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=0.35)
    assert set(np.unique(segmentation.mask)) == {0, 7}
    plain = segment(logits, prepared.space, LESION, probabilities=False)
    np.testing.assert_array_equal(plain.mask, segmentation.mask)
    marked = np.sort(segmentation.probabilities[0][segmentation.outputs[0]])
    for found_by in (plain, segmentation):
        np.testing.assert_allclose(np.sort(found_by.marked[0]), marked, rtol=1e-5)


@given(scans())
@settings(deadline=None, max_examples=30)
def test_percentiles_are_numpys_also_for_scaled_integers(
    scan: tuple[Grid, NDArray[np.float64]],
) -> None:
    grid, centre = scan
    stored = np.asfortranarray((blob(grid, centre, 25) * 1000).astype(np.int16))
    for slope in (1.0, 0.25, -1.5):
        part = Volume(Modality.T1, stored, slope, 2.0, grid, SpatialHeader({}), "sha256:0")
        scale = intensity_scale(part, (5, 95))
        low, high = np.percentile(stored * slope + 2.0, (5, 95))
        assert scale.low == pytest.approx(low, rel=1e-6)
        assert scale.range is None if high == low else scale.range == pytest.approx(high - low)


def test_voxels_of_absurd_size_are_refused_before_they_are_resampled() -> None:
    grid = Grid((40, 40, 40), np.diag([500.0, 500, 500, 1]))
    study = Study.of([volume(grid, np.random.default_rng(0).random(grid.shape, np.float32))])
    with pytest.raises(VolumeTooLarge, match="19501 × 19501 × 19501"):
        prepare(study, Preprocessing())


def flat_space() -> tuple[Grid, object]:
    grid = Grid((20, 20, 20), np.eye(4))
    voxels = np.zeros(grid.shape, np.float32)
    voxels[2:-2, 2:-2, 2:-2] = np.random.default_rng(0).random((16, 16, 16)) + 1
    return grid, prepare(Study.of([volume(grid, voxels)]), Preprocessing()).space


def test_regions_are_painted_from_the_largest_to_the_smallest() -> None:
    outputs = RegionOutputs(
        regions=(
            Region(name="TC", labels=(1, 4)),
            Region(name="WT", labels=(1, 2, 4)),
            Region(name="ET", labels=(4,)),
        ),
        labels=tuple(Label(value=v, name=f"L{v}") for v in (1, 2, 4)),
    )
    _, space = flat_space()
    logits = np.full((3, *space.shape), -9, np.float32)  # type: ignore[attr-defined]
    logits[1, 3:12, 3:12, 3:12] = 9
    logits[0, 4:10, 4:10, 4:10] = 9
    logits[2, 5:8, 5:8, 5:8] = 9
    found = segment(logits, space, outputs, probabilities=False)  # type: ignore[arg-type]
    counts = dict(zip(*np.unique(found.mask, return_counts=True), strict=True))
    assert counts[4] == 3**3
    assert counts[1] == 6**3 - 3**3
    assert counts[2] == 9**3 - 6**3


def test_of_equal_classes_the_background_wins_and_values_are_the_tasks() -> None:
    outputs = ClassOutputs(
        classes=(
            Label(value=0, name="background"),
            Label(value=10, name="a"),
            Label(value=3, name="b"),
        )
    )
    _, space = flat_space()
    logits = np.zeros((3, *space.shape), np.float32)  # type: ignore[attr-defined]
    logits[1, :4] = 1
    logits[2, 4:6] = 2
    for probabilities in (False, True):
        found = segment(logits, space, outputs, probabilities=probabilities)  # type: ignore[arg-type]
        assert set(np.unique(found.mask)) == {0, 3, 10}
        assert np.count_nonzero(found.mask == 10) == 4 * 18 * 18
        assert np.count_nonzero(found.mask == 3) == 2 * 18 * 18
        for marked, logit in zip(found.marked, (1, 2), strict=True):
            np.testing.assert_allclose(marked, np.exp(logit) / (np.exp(logit) + 2), rtol=1e-5)


@pytest.mark.parametrize(
    ("outer", "inner", "voxels", "painted"),
    [(0.01, 0, [0, 0], set()), (0, 0.01, [8, 0], {1}), (0.005, 0.005, [8, 8], {2})],
)
def test_a_small_part_is_left_out_of_its_region_and_of_those_inside_it(
    outer: float, inner: float, voxels: list[int], painted: set[int]
) -> None:
    _, space = flat_space()
    logits = np.full((2, *space.shape), -9, np.float32)  # type: ignore[attr-defined]
    logits[:, 3:5, 3:5, 3:5] = 9  # 0.008 mL
    regions = (Region(name="A", labels=(1, 2)), Region(name="B", labels=(2,), smallest_ml=inner))
    labels = (Label(value=1, name="a"), Label(value=2, name="b"))
    outputs = RegionOutputs(regions=regions, labels=labels, smallest_ml=outer)
    found = segment(logits, space, outputs, probabilities=False)  # type: ignore[arg-type]
    assert [np.count_nonzero(part) for part in found.outputs] == voxels
    assert set(np.unique(found.mask)) - {0} == painted


def test_parts_that_a_task_calls_too_small_are_left_out_of_the_mask_alone() -> None:
    _, space = flat_space()
    logits = np.full((1, *space.shape), -9, np.float32)  # type: ignore[attr-defined]
    logits[0, 3:5, 3:5, 3:5] = 9  # 0.008 mL
    logits[0, 8:11, 8:11, 8:11] = 9  # 0.027 mL
    logits[0, 5, 5, 5] = 9  # touches the first by a corner: 0.009 mL together
    for smallest, voxels in ((0, 36), (0.009, 36), (0.01, 27), (0.03, 0)):
        outputs = LESION.model_copy(update={"smallest_ml": smallest})
        for probabilities in (False, True):
            found = segment(logits, space, outputs, probabilities=probabilities)  # type: ignore[arg-type]
            assert np.count_nonzero(found.mask) == voxels
            assert np.count_nonzero(found.outputs[0]) == len(found.marked[0]) == voxels
    assert np.count_nonzero(found.probabilities[0] > 0.5) == 36


NESTED = RegionOutputs(
    regions=(
        Region(name="A", labels=(1, 2), high_threshold=0.9),
        Region(name="B", labels=(2,), high_threshold=0.99),
    ),
    labels=(Label(value=1, name="a"), Label(value=2, name="b")),
)


@pytest.mark.parametrize("probabilities", [False, True])
def test_a_part_that_is_nowhere_sure_is_left_out_with_what_lies_in_it(probabilities: bool) -> None:
    _, space = flat_space()
    logits = np.full((2, *space.shape), -9, np.float32)  # type: ignore[attr-defined]
    for start, (outer, inner) in {2: (1, 9), 6: (3, 3), 10: (1, 1)}.items():
        block = slice(start, start + 3), slice(3, 6), slice(3, 6)
        logits[0][block], logits[1][block] = outer, inner
    logits[:, 10, 3, 3] = 9  # one sure voxel keeps the whole part
    found = segment(logits, space, NESTED, probabilities=probabilities)  # type: ignore[arg-type]
    assert [np.count_nonzero(part) for part in found.outputs] == [2 * 27, 27]
    assert np.count_nonzero(found.mask == 1) == np.count_nonzero(found.mask == 2) == 27
    if probabilities:
        assert np.count_nonzero(found.probabilities[0] > 0.5) == 3 * 27


def test_parts_of_a_resampled_study_are_judged_by_its_own_voxels() -> None:
    grid = Grid((20, 20, 20), np.diag([2.0, 2, 2, 1]))
    voxels = np.random.default_rng(0).random(grid.shape, np.float32) + 1
    space = prepare(Study.of([volume(grid, voxels)]), Preprocessing()).space
    noise = np.random.default_rng(1).normal(size=(2, *space.shape))
    smooth = np.stack([ndimage.gaussian_filter(one, 2) for one in noise])
    logits = (smooth / smooth.std() * 2).astype(np.float32)
    fast, slow = (segment(logits, space, NESTED, probabilities=p) for p in (False, True))
    assert np.array_equal(fast.mask, slow.mask)
    outer = slow.probabilities[0]
    labels, count = ndimage.label(outer > 0.5, np.ones((3, 3, 3)))
    sure = np.unique(labels[outer > 0.9])
    assert 0 < len(sure) < count
    assert np.array_equal(slow.outputs[0], np.isin(labels, sure) & (labels > 0))
