"""What a reader sees of two times: wrong here shows a change where there is none."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image, ImageColor

from brainmvp_models.modality import Modality
from brainmvp_server.comparison.change import Status
from brainmvp_server.comparison.compare import Comparison
from brainmvp_server.comparison.files import files_of
from brainmvp_server.comparison.picture import COLOURS, picture_png
from brainmvp_server.comparison.planes import drawn_structures, rows_of
from brainmvp_server.comparison.report import comparison_html
from brainmvp_server.comparison.summary import ComparisonSummary
from brainmvp_server.comparison.visit import Kind, Maker, Visit
from brainmvp_server.imaging.volume import Volume

from .conftest import balls, compared, drawn

OLD, FRESH = ((30.0, 10.0, 20.0), 14.0), ((-30.0, -20.0, 40.0), 10.0)


@pytest.fixture(scope="module")
def made(brain: Volume) -> Comparison:
    return compared(drawn(brain, OLD), drawn(brain, OLD, FRESH))


def has(picture: Image.Image, status: Status) -> bool:
    colour = ImageColor.getrgb(COLOURS[status])
    return bool((np.asarray(picture.convert("RGB")) == colour).all(axis=2).any())


def test_a_lesion_is_outlined_where_it_is_and_only_at_its_time(made: Comparison) -> None:
    rows = list(rows_of(made))
    assert rows[0].height_mm == pytest.approx(FRESH[0][2], abs=2)  # what is new comes first
    assert next(one.status for one in rows[0].after.outlines) is Status.NEW
    assert all(one.status is not Status.NEW for row in rows for one in row.before.outlines)
    inside = next(one for one in rows[0].after.outlines if one.status is Status.NEW).inside
    columns = np.nonzero(inside)[1]
    # The patient's left is on the right of the picture.
    assert columns.min() > inside.shape[1] / 2
    assert np.count_nonzero(inside) * 0.25 == pytest.approx(np.pi * 10**2, rel=0.1)


def test_one_scan_twice_differs_nowhere(made: Comparison) -> None:
    for row in rows_of(made):
        np.testing.assert_array_equal(row.before.image, row.after.image)


def test_the_picture_shows_each_status_in_its_colour(made: Comparison) -> None:
    with Image.open(io.BytesIO(picture_png(made))) as picture:
        assert has(picture, Status.NEW) and has(picture, Status.STABLE)
        assert not has(picture, Status.GONE)


def test_without_a_lesion_the_brain_is_shown(brain: Volume) -> None:
    empty = Visit((brain,), Modality.T1, np.zeros(brain.grid.shape, np.uint8), brain.grid)
    rows = list(rows_of(compared(empty, empty)))
    assert len(rows) == 3 and all(row.after.image.max() > 0.5 for row in rows)


def test_of_regions_in_each_other_the_outermost_is_drawn(brain: Volume) -> None:
    labels = np.maximum(balls(brain.grid, OLD), 2 * balls(brain.grid, (OLD[0], 6.0)))
    kinds = (Kind("WT", "", (1, 2)), Kind("TC", "", (2,)))
    visit = Visit((brain,), Modality.T1, labels, brain.grid, kinds)
    made = compared(visit, visit)
    assert [one.kind.name for one in drawn_structures(made.structures)] == ["WT"]
    assert len(made.structures) == 2


def test_every_file_is_there_and_the_summary_reads_back(made: Comparison) -> None:
    files = dict(files_of(made))
    assert sorted(files) == ["comparison.html", "comparison.json", "comparison.png"]
    read = ComparisonSummary.model_validate_json(files["comparison.json"])
    assert read == ComparisonSummary.of(made)
    assert read.structures[0].counts == {Status.NEW: 1, Status.STABLE: 1}


def test_the_report_needs_nothing_else_and_escapes_what_it_is_given(brain: Volume) -> None:
    maker = Maker("<b>x</b>", "1", "sha256:b", True, (Modality.T1,), {})
    visit = Visit(
        (brain,), Modality.T1, balls(brain.grid, OLD), brain.grid,
        (Kind("a", "<script>", (1,)),), maker,
    )  # fmt: skip
    html = comparison_html(ComparisonSummary.of(compared(visit, visit)), b"")
    assert "<script" not in html.lower() and "<b>x" not in html
    assert "Demonstration model" in html
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)


def test_the_report_says_what_the_intervals_rest_on(brain: Volume, made: Comparison) -> None:
    told = comparison_html(ComparisonSummary.of(made), b"")
    assert "no error of its volumes was measured" in told
    maker = Maker("glioma", "1", "sha256:b", False, (Modality.T1,), {"WT": 2.5})
    visit = Visit(
        (brain,), Modality.T1, balls(brain.grid, OLD), brain.grid,
        (Kind("WT", "", (1,)),), maker,
    )  # fmt: skip
    html = comparison_html(ComparisonSummary.of(compared(visit, visit)), b"")
    assert "mean absolute volume error, 2.5 mL" in html
