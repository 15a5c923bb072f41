"""Which lesion is which: what breaks here calls an old lesion new, or a new one old."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_server.comparison.match import Match, match
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.inference.parts import Components
from brainmvp_server.preparation.rigid import RigidTransform

HERE = RigidTransform.identity()
Box = tuple[tuple[int, int, int], tuple[int, int, int]]


def parts(*boxes: Box, edge: float = 1.0, start: float = 0.0) -> Components:
    """Boxes of voxels from their lower to their upper corner."""
    mask = np.zeros((40, 40, 40), dtype=np.bool_)
    for low, high in boxes:
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    affine = np.diag([edge, edge, edge, 1.0])
    affine[:3, 3] = start
    return Components.of(mask, (0, 0, 0), Grid(mask.shape, affine))


LARGE: Box = ((2, 2, 2), (12, 12, 12))
SMALL: Box = ((20, 20, 20), (25, 25, 25))


def test_parts_that_lie_where_they_lay_are_the_same_ones() -> None:
    assert match(parts(LARGE, SMALL), parts(LARGE, SMALL), HERE) == (
        Match((1,), (1,)),
        Match((2,), (2,)),
    )


def test_numbers_go_by_size_at_each_time_and_do_not_decide() -> None:
    grown: Box = ((18, 18, 18), (30, 30, 30))
    found = match(parts(LARGE, SMALL), parts(LARGE, grown), HERE)
    assert set(found) == {Match((1,), (2,)), Match((2,), (1,))}


def test_what_is_there_at_one_time_only_is_alone() -> None:
    assert match(parts(LARGE), parts(LARGE, SMALL), HERE)[1] == Match((), (2,))
    assert match(parts(LARGE, SMALL), parts(LARGE), HERE)[1] == Match((2,), ())
    assert match(None, parts(SMALL), HERE) == (Match((), (1,)),)
    assert match(parts(SMALL), None, HERE) == (Match((1,), ()),)
    assert match(None, None, HERE) == ()


def test_parts_that_grew_together_are_one_lesion() -> None:
    two = parts(((2, 2, 2), (8, 8, 8)), ((12, 2, 2), (18, 8, 8)))
    one = parts(((2, 2, 2), (18, 8, 8)))
    assert match(two, one, HERE) == (Match((1, 2), (1,)),)
    assert match(one, two, HERE) == (Match((1,), (1, 2)),)


def test_a_part_that_only_touches_the_old_lesion_is_another() -> None:
    rest: Box = ((2, 2, 2), (9, 12, 12))
    corner: Box = ((11, 11, 11), (19, 19, 19))
    found = match(parts(LARGE), parts(rest, corner), HERE)
    assert set(found) == {Match((1,), (1,)), Match((), (2,))}


def test_a_small_lesion_beside_where_it_lay_is_matched_only_if_both_are_alone() -> None:
    here: Box = ((20, 20, 20), (22, 22, 22))
    beside: Box = ((20, 20, 23), (22, 22, 25))
    far: Box = ((20, 20, 27), (22, 22, 29))
    assert match(parts(here), parts(beside), HERE) == (Match((1,), (1,)),)
    assert len(match(parts(here), parts(far), HERE)) == 2
    # The old one is still where it was: what lies beside it is another.
    both = match(parts(here), parts(here, beside), HERE)
    assert len(both) == 2


@settings(max_examples=25, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(-30, 30)] * 3),
    shift=st.tuples(*[st.floats(-20, 20)] * 3),
    edge=st.sampled_from([1.0, 1.5]),
)
def test_a_patient_who_lies_otherwise_has_the_same_lesions(
    degrees: tuple[float, float, float], shift: tuple[float, float, float], edge: float
) -> None:
    there = RigidTransform.of_rotation(np.array(degrees), np.array(shift), np.full(3, 10.0))
    before = parts(LARGE, SMALL, edge=edge)
    grid = Grid(before.grid.shape, there.matrix @ before.grid.affine)
    after = Components(before.numbers, before.voxels, before.boxes, before.start, grid)
    assert match(before, after, there.inverse) == (Match((1,), (1,)), Match((2,), (2,)))


def test_a_coarse_mask_and_a_fine_one_of_the_same_lesion_are_matched() -> None:
    fine = parts(((8, 8, 8), (16, 16, 16)))
    coarse = parts(((2, 2, 2), (4, 4, 4)), edge=4.0, start=1.5)
    assert match(coarse, fine, HERE) == (Match((1,), (1,)),)
    assert match(fine, coarse, HERE) == (Match((1,), (1,)),)


def test_many_specks_are_each_matched_with_themselves() -> None:
    places = [((i % 8) * 5, (i // 8) * 5, 3) for i in range(60)]
    boxes = [((x, y, z), (x + 1, y + 1, z + 1)) for x, y, z in places]
    found = match(parts(*boxes), parts(*boxes), HERE)
    assert len(found) == 60 and all(one.before == one.after for one in found)
