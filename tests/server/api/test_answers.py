"""Which form an answer takes."""

from __future__ import annotations

import pytest

from brainmvp_models.task import load_task
from brainmvp_server.api.answers import Form, negotiate
from brainmvp_server.api.problems import NotAcceptable

TASK = load_task("upenn-gbm")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Form.JSON),
        ("  ", Form.JSON),
        ("*/*", Form.JSON),
        ("image/*", Form.PNG),
        ("text/html, */*", Form.HTML),
        ("*/*, text/html", Form.JSON),
        ("application/json;q=0, */*", Form.NIFTI),
        ("*/*, application/json;q=0", Form.NIFTI),
        ("application/*;q=0, */*;q=0.1", Form.PNG),
        ("application/*;q=0, application/zip", Form.ZIP),
        ("application/zip;q=0.4, image/png;q=0.5", Form.PNG),
        ("application/json;q=0.1, */*;q=0.9", Form.NIFTI),
        ('multipart/related; type="application/dicom", */*;q=0.1', Form.DICOM),
        ("APPLICATION/GZIP", Form.GZIP),
    ],
)
def test_the_range_that_names_a_form_most_closely_decides(accept: str | None, form: Form) -> None:
    assert negotiate(accept, TASK, probabilities=False) is form


@pytest.mark.parametrize("accept", ["application/json;q=0", "*/*;q=0", "text/plain", "a;q=x"])
def test_what_takes_none_of_ours_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="Accept one of"):
        negotiate(accept, TASK, probabilities=False)
