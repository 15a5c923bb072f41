"""What is around the head, and how little of it there may be: the same study, otherwise filed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing
from brainmvp_server.imaging.align import resampled
from brainmvp_server.imaging.grid import Box, Grid
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.study import Study
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.inference.intensity import window_of
from brainmvp_server.inference.preprocess import Prepared, prepare

SHAPE = (40, 44, 36)
FIELD = (40.0, 44.0, 36.0)
RULES = {
    "1 mm": Preprocessing(field_of_view_mm=FIELD),
    "2 mm": Preprocessing(field_of_view_mm=FIELD, spacing_mm=(2, 2, 2)),
}
ANY_HEAD = Limits(head_ml=0)


def volume(voxels: np.ndarray, affine: np.ndarray | None = None, **more: object) -> Volume:
    grid = Grid(voxels.shape, np.eye(4) if affine is None else affine)
    one = Volume(Modality.T1, voxels, 1.0, 0.0, grid, SpatialHeader({}), "sha256:0")
    return replace(one, **more)  # type: ignore[arg-type]


def head() -> np.ndarray:
    """Values of 20 … 219 within an ellipsoid that touches the field of view, on zeros."""
    x, y, z = np.meshgrid(*(np.linspace(-1.05, 1.05, n) for n in SHAPE), indexing="ij")
    voxels = np.random.default_rng(7).integers(20, 220, SHAPE).astype(np.int16)
    voxels[x * x + y * y + z * z > 1] = 0
    return np.asfortranarray(voxels)


def padded(voxels: np.ndarray, before: tuple[int, ...], after: tuple[int, ...]) -> Volume:
    affine = np.eye(4)
    affine[:3, 3] = [-n for n in before]
    widths = list(zip(before, after, strict=True))
    return volume(np.asfortranarray(np.pad(voxels, widths)), affine)


def of(one: Volume, rules: Preprocessing, limits: Limits = ANY_HEAD) -> Prepared:
    return prepare(Study.of([one]), rules, limits)


@given(
    before=st.tuples(*[st.integers(0, 30)] * 3),
    after=st.tuples(*[st.integers(0, 30)] * 3),
    rules=st.sampled_from(list(RULES)),
)
@settings(deadline=None, max_examples=40)
def test_a_study_padded_beyond_trainings_field_of_view_is_the_study_that_it_was(
    before: tuple[int, ...], after: tuple[int, ...], rules: str
) -> None:
    plain = of(volume(head()), RULES[rules])
    other = of(padded(head(), before, after), RULES[rules])
    np.testing.assert_array_equal(other.images[Modality.T1], plain.images[Modality.T1])
    np.testing.assert_allclose(other.space.affine, plain.space.affine)
    assert other.coverage[Modality.T1].head_ml == plain.coverage[Modality.T1].head_ml
    # It is said, with what share is head and what it would have been in training.
    said = [note for note in other.warnings if "which is padded" in note]
    assert len(said) == bool(sum(before) + sum(after)) and not plain.warnings
    for note in said:
        assert note.startswith("t1: the head is ") and "cropped to 40 × 44 × 36 mm" in note


def test_a_bundle_can_take_every_study_as_it_comes() -> None:
    one = padded(head(), (9, 9, 9), (9, 9, 9))
    rules = Preprocessing(field_of_view_mm=None)
    low, high = np.percentile(one.stored, (5, 95))
    image = of(one, rules).images[Modality.T1]
    assert image.max() == pytest.approx((one.stored.max() - low) / (high - low), rel=1e-6)
    assert of(one, rules).warnings == ()


@given(
    shape=st.tuples(*[st.integers(4, 60)] * 3),
    ends=st.tuples(*[st.tuples(st.floats(0, 1), st.floats(0, 1))] * 3),
    field=st.none() | st.tuples(*[st.floats(1, 80)] * 3),
    spacing=st.floats(0.4, 3),
)
def test_a_window_holds_the_content_and_lies_in_the_grid(
    shape: tuple[int, int, int],
    ends: tuple[tuple[float, float], ...],
    field: tuple[float, float, float] | None,
    spacing: float,
) -> None:
    corners = [
        sorted((int(a * (n - 1)), int(b * (n - 1)))) for (a, b), n in zip(ends, shape, strict=True)
    ]
    content = Box(*[tuple(c) for c in zip(*[(a, b + 1) for a, b in corners], strict=True)])  # type: ignore[arg-type]
    grid = Grid(shape, np.diag([spacing, spacing, spacing, 1.0]))
    window = window_of(content, grid, field)
    for a, b, c, d, n in zip(
        window.start, content.start, content.stop, window.stop, shape, strict=True
    ):
        assert 0 <= a <= b < c <= d <= n
    if field is None:
        assert window == Box((0, 0, 0), shape)


def z_scored(voxels: np.ndarray) -> np.ndarray:
    inside = voxels > 0
    values = voxels.astype(np.float32)
    values[inside] = (values[inside] - values[inside].mean()) / values[inside].std()
    return values


def far(voxels: np.ndarray, background: int, dtype: str = "i4") -> Volume:
    """The head on a background of that stored value."""
    return volume(np.asfortranarray(np.where(head() > 0, voxels, background).astype(dtype)))


def with_lit_corner(one: Volume) -> Volume:
    one.stored[0, 0, 0] = 5
    return one


BACKGROUNDS: dict[str, tuple[Callable[[np.ndarray], Volume], str | None]] = {
    "zeros below it": (volume, None),
    "below its minimum": (lambda v: volume(np.where(v > 0, v, -20).astype(np.int16)), None),
    "0 amid z-scores": (lambda v: volume(z_scored(v)), "brighter than 5"),
    "0 amid z-scores, padded": (lambda v: padded(z_scored(v), (5, 6, 7), (8, 9, 9)), "brighter"),
    "amid values, slope -1": (
        lambda v: volume(-z_scored(v), None, slope=-1.0),
        "brighter than 5",
    ),
    "zeros below it, slope -1": (lambda v: volume(-v, None, slope=-1.0), None),
    "-1000 outside": (lambda v: far(v, -1000), "is -1000, far below"),
    "-32768 outside": (lambda v: far(v, -32768), "is -32768, far below"),
    "-1000 outside, and between the two at the border": (
        lambda v: far(np.where((v > 0) & (v < 25), -500, v), -1000),
        "is -1000, far below",
    ),
    "-1000 outside in unsigned integers": (
        lambda v: replace(far(v + 1000, 0, "u2"), intercept=-1000.0),
        "is -1000, far below",
    ),
    "-1000 outside, slope -1": (lambda v: replace(far(-v, 1000), slope=-1.0), "is -1000"),
    "-1000 outside, but a corner": (
        lambda v: with_lit_corner(far(v, -1000)),
        "is -1000, far below",
    ),
    "-30 below z-scores": (
        lambda v: volume(np.where(v > 0, z_scored(v), np.float32(-30))),
        "is -30, far below",
    ),
    "a few darker voxels at its border": (
        lambda v: volume(np.where((v > 0) & (v < 25), -1, v).astype(np.int16)),
        None,
    ),
}


def test_a_single_voxel_far_below_is_no_background() -> None:
    voxels = head()
    voxels[20, 20, 20] = -1000
    assert of(volume(voxels), RULES["1 mm"]).warnings == ()


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_a_background_amid_the_heads_values_is_taken_as_dark_and_said_so(name: str) -> None:
    make, warning = BACKGROUNDS[name]
    prepared = of(make(head()), RULES["1 mm"])
    notes = [note for note in prepared.warnings if "background" in note]
    assert len(notes) == (warning is not None)
    assert all(warning and warning in note for note in notes)
    image = prepared.images[Modality.T1]
    inside, outside = image[image > 0.1], image.min()
    assert abs(float(outside)) < 0.35  # the corners are as dark as the darkest tissue
    assert 0.4 < float(np.median(inside)) < 0.75


def noise() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 4, SHAPE).astype(np.uint8)


def test_noise_around_a_head_is_no_padding() -> None:
    voxels = np.where(head() > 0, head(), noise()).astype(np.int16)
    prepared = of(volume(voxels), Preprocessing(field_of_view_mm=(10, 10, 10)))
    assert prepared.space.window == Box((0, 0, 0), SHAPE) and prepared.warnings == ()


LITTLE = {
    "a head": (head(), 20, None),
    "two slices": (head()[:, :, 17:19], 20, "shows 2.4 mL of head, less than the 20 mL"),
    "a cube": (head()[12:28, 12:28, 10:26], 20, "shows 3.9 mL of head, less than the 20 mL"),
    "two slices, nobody asks": (head()[:, :, 17:19], 0, None),
}


@pytest.mark.parametrize("name", LITTLE)
def test_too_little_head_is_a_warning_with_the_figure(name: str) -> None:
    voxels, least, expected = LITTLE[name]
    prepared = of(volume(voxels), RULES["1 mm"], Limits(head_ml=least))
    assert [note for note in prepared.warnings if "mL of head" in note] == (
        [note for note in prepared.warnings if expected in note] if expected else []
    )
    assert bool(prepared.warnings) == (expected is not None)


@pytest.mark.parametrize("turn", [np.eye(4), np.diag([-1, 1, 1, 1.0])])
@pytest.mark.parametrize("rules", RULES)
def test_beyond_a_series_field_of_view_a_modality_is_missing_not_zero(
    rules: str, turn: np.ndarray
) -> None:
    whole = volume(head())
    part = volume(head()[:, :, :20])
    part = replace(part, modality=Modality.T2, stored=part.stored[:: int(turn[0, 0])])
    shift = turn.copy()
    shift[0, 3] = SHAPE[0] - 1 if turn[0, 0] < 0 else 0
    part = replace(part, grid=Grid(part.stored.shape, shift))
    study = Study.of([whole, resampled(part, whole)])
    prepared = prepare(study, RULES[rules], ANY_HEAD)
    unknown = prepared.unknown[Modality.T2]
    z = prepared.space.affine[2, 3] + prepared.space.affine[2, 2] * np.arange(unknown.shape[2])
    np.testing.assert_array_equal(unknown, np.broadcast_to(z > 19.5, unknown.shape))
    shown = prepared.coverage[Modality.T2]
    assert shown.head_share == pytest.approx(1 - unknown.mean())
    assert any("t2: its field of view covers 5" in note for note in prepared.warnings)
    # Its intensities are those of what it shows: the half that is missing moves nothing.
    alone = Volume.values(part, part.stored)
    low, high = np.percentile(alone, (5, 95))
    image = prepared.images[Modality.T2]
    if rules == "1 mm":
        assert image[~unknown].max() == pytest.approx((alone.max() - low) / (high - low), rel=1e-5)
    assert not image[unknown].any() or rules == "2 mm"
