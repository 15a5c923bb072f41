"""What goes wrong while DICOM is read is told apart: the file, the memory, or we ourselves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainmvp_models.errors import InvalidVolume
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.dicom import files, pixels
from brainmvp_server.imaging.dicom.files import scan
from brainmvp_server.imaging.dicom.pixels import read_stack
from brainmvp_server.imaging.dicom.series import sort_series
from dicom_studies import write_study


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    study = write_study(tmp_path_factory.mktemp("study") / "study", "siemens", ("t1",), part=True)
    return tuple(study.files)


def failing(error: BaseException) -> Callable[..., Any]:
    def fails(*_: Any, **__: Any) -> Any:
        raise error

    return fails


def headers(series: tuple[Path, ...], patched: pytest.MonkeyPatch, error: BaseException) -> None:
    patched.setattr(files, "open_dataset", failing(error))
    assert scan(series).unreadable == len(series)


def voxels(series: tuple[Path, ...], patched: pytest.MonkeyPatch, error: BaseException) -> None:
    (stack,) = sort_series(scan(series).instances).stacks
    patched.setattr(pixels, "open_dataset", failing(error))
    with pytest.raises(InvalidVolume, match="its pixels are damaged"):
        read_stack(stack, Modality.T1)


READINGS = [headers, voxels]


@pytest.mark.parametrize("read", READINGS)
def test_a_full_memory_is_not_the_files_fault(
    series: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch, read: Callable[..., None]
) -> None:
    with pytest.raises(MemoryError):
        read(series, monkeypatch, MemoryError())


@pytest.mark.parametrize("error", [ValueError("Doe^Jane"), RecursionError("Doe"), KeyError("Doe")])
@pytest.mark.parametrize("read", READINGS)
def test_what_cannot_be_read_leaves_a_line_of_where_and_not_of_whom(
    series: tuple[Path, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    read: Callable[..., None],
    error: Exception,
) -> None:
    with caplog.at_level(logging.INFO, "brainmvp_server"):
        read(series, monkeypatch, error)
    assert f"{type(error).__name__} at test_faults.py" in caplog.text
    assert "Doe" not in caplog.text
    assert len(caplog.records) == 1  # not one a file
