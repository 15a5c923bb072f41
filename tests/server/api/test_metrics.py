"""``/metrics`` of a running service that has work to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings
from drawn_head import draw_head

from .conftest import Service, running


def numbers(service: Service) -> dict[str, float]:
    text = service.http.get("/metrics").text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_study_is_counted_from_the_door_to_the_engine(service: Service, scan: Path) -> None:
    before = numbers(service)
    with scan.open("rb") as file:
        assert service.predict(params={"fill": "zeros"}, files={"t1": file}).status_code == 200
    call = 'brainmvp_requests_total{call="/v1/models/{name}/predict",method="POST",status="200"}'
    # A request is counted when its answer is sent, which its client may know first.
    until(lambda: numbers(service).get(call, 0) > before.get(call, 0))
    after = numbers(service)
    for name in (
        call,
        'brainmvp_studies_total{model="tiny"}',
        'brainmvp_windows_total{model="tiny"}',
        'brainmvp_batch_fill_count{model="tiny"}',
        'brainmvp_stage_seconds_count{model="tiny",stage="infer"}',
        'brainmvp_stage_seconds_count{model="tiny",stage="restore"}',
    ):
        assert after[name] > before.get(name, 0), name
    assert after["brainmvp_network_loads_total"] >= 1
    assert after["brainmvp_network_memory_bytes"] > 0
    assert after["brainmvp_windows_waiting"] == 0 and after["brainmvp_admitted"] == 0
    assert after["brainmvp_models"] == 2 and after["brainmvp_models_refused"] == 1


def test_what_became_of_a_studys_preparation_is_on_the_page_of_metrics(
    swift_models: Path, scan: Path, tmp_path: Path
) -> None:
    drawn = draw_head(tmp_path)
    empty = tmp_path / "Doe.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((60, 60, 60), np.uint8), np.eye(4)), empty)

    with running(create_app(Settings.of(models=swift_models, scratch=tmp_path))) as http:
        service = Service(http, tmp_path)

        def sent(t1: Path, brain: Path | None = None, **query: str) -> int:
            files = {"t1": t1.read_bytes()} | ({"brain": brain.read_bytes()} if brain else {})
            params = {"fill": "zeros", **query}
            return service.predict("swift", params=params, files=files).status_code

        assert sent(drawn.series, drawn.brain) == 200
        assert sent(drawn.series, empty) == 422
        assert sent(drawn.series, prepare="none") == 200
        assert sent(scan) == 200
        found, text = numbers(service), http.get("/metrics").text
    ended = 'brainmvp_preparations_total{outcome="%s",reason="%s"}'
    for name in (
        ended % ("prepared", ""),
        ended % ("refused", "no-brain"),
        ended % ("not-asked", ""),
        ended % ("not-needed", ""),
        'brainmvp_preparation_warnings_total{kind="skull-on"}',
        "brainmvp_preparation_brain_ml_count",
    ):
        assert found[name] == 1, name
    assert "Doe" not in text


def test_no_label_takes_a_clients_words(service: Service) -> None:
    service.http.get("/Doe/Jane")
    service.http.request("DOE", "/v1/models/Doe^Jane", headers={"user-agent": "Doe"})
    until(lambda: 'method="other"' in service.http.get("/metrics").text)
    text = service.http.get("/metrics").text
    assert "Doe" not in text and "DOE" not in text
    assert 'call="other"' in text and 'method="other"' in text
