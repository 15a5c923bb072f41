"""The profile speed: every voxel of brain is seen, its weights add up, and windows are few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_models.task import ClassOutputs, Label, Window, load_task
from brainmvp_server.inference.spread_windows import (
    LEAST_OVERLAP,
    FadingBlend,
    fading,
    spread,
    without_empty,
)
from brainmvp_server.inference.windows import WindowPlan

LENGTHS = st.integers(20, 512)
OVERLAPS = st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.75))
SIZES = st.sampled_from((32, 64, 96))


@given(LENGTHS, SIZES, OVERLAPS)
@settings(deadline=None, max_examples=50)
def test_windows_reach_all_of_an_axis_overlap_and_are_never_more_than_published(
    length: int, size: int, overlap: float
) -> None:
    window = Window(size=(size, size, size), overlap=overlap)
    plan = spread((length, 20, 20), window)
    published = WindowPlan.of((length, 20, 20), window)
    starts = plan.starts[0]
    assert (plan.padded, plan.before) == (published.padded, published.before)
    assert starts[0] == 0 and starts[-1] + size == plan.padded[0]
    assert len(plan) <= len(published)
    gaps = np.diff(starts)
    widest = max(size - LEAST_OVERLAP, int(size * (1 - overlap)))
    assert all(0 < gap <= widest for gap in gaps)
    assert len(set(gaps)) <= 2 and np.abs(np.diff(gaps)).max(initial=0) <= 1


@given(LENGTHS, SIZES)
@settings(deadline=None, max_examples=50)
def test_weights_add_up_to_1_and_a_window_fades_out_where_another_takes_over(
    length: int, size: int
) -> None:
    plan = spread((length, 20, 20), Window(size=(size, size, size)))
    weights = fading(plan.starts[0], size, plan.padded[0])
    total = np.zeros(plan.padded[0])
    for start, weight in weights.items():
        total[start : start + size] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    steps = [np.abs(np.diff(weight)).max() for weight in weights.values()]
    assert max(steps) < 0.3
    inner = [weight[0] for start, weight in weights.items() if start]
    assert all(weight < 0.15 for weight in inner)


@given(st.tuples(*[st.integers(20, 110)] * 3), st.data())
@settings(deadline=None, max_examples=25)
def test_every_voxel_of_brain_lies_in_windows_that_are_run_and_in_none_that_is_not(
    shape: tuple[int, int, int], data: st.DataObject
) -> None:
    whole = spread(shape, Window(size=(32, 32, 32)))
    brain = np.zeros(whole.padded, bool)
    for _ in range(data.draw(st.integers(1, 3))):
        brain[tuple(data.draw(st.integers(0, n - 1)) for n in whole.padded)] = True
    plan = without_empty(whole, brain)
    run, left_out = np.zeros_like(brain), np.zeros_like(brain)
    for place in plan.slices():
        run[place] = True
    for place in plan.skipped_slices():
        left_out[place] = True
    assert run[brain].all() and not left_out[brain].any()
    assert len(list(plan.slices())) == len(plan) == len(whole) - len(plan.skipped)


def test_a_volume_in_which_nothing_is_brain_is_run_whole() -> None:
    whole = spread((60, 60, 60), Window(size=(32, 32, 32)))
    assert without_empty(whole, np.zeros(whole.padded, bool)) == whole


@pytest.mark.parametrize("exclusive", [False, True])
def test_blending_gives_back_what_all_windows_agree_on_and_nothing_where_none_was_run(
    exclusive: bool,
) -> None:
    task = load_task("upenn-gbm")
    if exclusive:
        names = ("background", "one", "two")
        classes = tuple(Label(name=name, value=n) for n, name in enumerate(names))
        task = task.model_copy(update={"outputs": ClassOutputs(classes=classes)})
    brain = np.zeros((150, 40, 33), bool)
    brain[:40] = True
    plan = without_empty(spread(brain.shape, Window(size=(32, 32, 32))), brain)
    assert len(plan.skipped) > len(plan) > 0
    truth = np.random.default_rng(0).standard_normal((3, *plan.padded)).astype(np.float32)
    blend = FadingBlend(plan, task)
    for place in plan.slices():
        blend.add(place, truth[(slice(None), *place)])
    found = blend.mean()
    np.testing.assert_allclose(found[:, brain], truth[:, brain], atol=1e-5)
    nothing = found[:, -20:]
    assert (nothing[1:] < -9).all()
    assert (nothing[0] > 9).all() if exclusive else (nothing[0] < -9).all()
