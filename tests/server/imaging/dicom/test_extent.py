"""How much a header may hold: counted as pydicom reads it, and refused before it stops anybody."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import data as examples
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.dicom.extent import (
    MOST_DEPTH,
    MOST_VALUE_BYTES,
    MOST_WEIGHT,
    TooMuch,
    check_extent,
)
from brainmvp_server.imaging.dicom.files import scan
from brainmvp_server.imaging.dicom.pixels import read_stack
from brainmvp_server.imaging.dicom.series import sort_series
from dicom_frames import holds_the_lock
from dicom_studies import contrast_image, header_of, write_series
from hostile_headers import HOSTILE, IMAGE, MANY, element, file_of, full_header, untyped

_ELEMENT_BYTES = 400
FOLDER = Path(examples.__file__).parent / "test_files"


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_header_that_holds_too_much_is_unreadable_and_stops_nobody(
    tmp_path: Path, kind: str
) -> None:
    path = file_of(tmp_path / "x.dcm", HOSTILE[kind]() + IMAGE)
    found = []
    assert not holds_the_lock(lambda: found.append(scan([path])))
    assert (found[0].unreadable, found[0].instances) == (1, ())


def test_untyped_elements_are_counted_as_well(tmp_path: Path) -> None:
    body = b"".join(untyped(0x00080005 + n % 9, b"ab") for n in range(MANY))
    with pytest.raises(TooMuch):
        check_extent(file_of(tmp_path / "x.dcm", body, "1.2.840.10008.1.2"))


def test_elements_of_the_file_s_own_group_are_counted_as_well(tmp_path: Path) -> None:
    body = element(0x00020013, b"SH", b"ab") * MANY
    with pytest.raises(TooMuch):
        check_extent(file_of(tmp_path / "x.dcm", body))


def test_bytes_may_be_of_any_length(tmp_path: Path) -> None:
    body = element(0x7FE00010, b"OB", bytes(3_000_000))
    assert check_extent(file_of(tmp_path / "x.dcm", body)) == 2


def weight(dataset: Dataset) -> int:
    inside = sum(4 + weight(one) for e in dataset if e.VR == "SQ" for one in e.value)
    return len(dataset) + inside


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "UN_sequence.dcm",
        "dicomdirtests/DICOMDIR-bigEnd",
        "dicomdirtests/DICOMDIR-implicit",
        "reportsi.dcm",
        "nested_priv_SQ.dcm",
        "rtplan.dcm",
    ],
)
def test_real_files_weigh_what_pydicom_finds_in_them(name: str) -> None:
    dataset = pydicom.dcmread(FOLDER / name)
    assert check_extent(FOLDER / name) == pytest.approx(
        weight(dataset) + len(dataset.file_meta), abs=1
    )


def test_no_real_file_is_near_the_limit(real_data: Callable[[str], Path]) -> None:
    for path in real_data("dicom").rglob("*.dcm"):
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
            assert check_extent(path) < MOST_WEIGHT / 10


def test_the_limits_are_those_that_are_stated() -> None:
    text = " ".join((Path(__file__).parents[4] / "docs" / "dicom.md").read_text().split())
    assert f"more than {MOST_WEIGHT:,} elements" in text
    assert f"more than {MOST_VALUE_BYTES >> 20} MiB" in text
    assert f"nested more than {MOST_DEPTH} deep" in text


@pytest.mark.slow
def test_a_series_of_many_full_headers_is_read_one_header_at_a_time(tmp_path: Path) -> None:
    """Together they weigh more than one may; in memory there is one."""
    image = contrast_image("t2", grid=((8, 10, 13), (20.0, 20.0, 10.0)))
    files = write_series(tmp_path, [image], header_of("siemens", "t2"), "siemens").files
    for path in files:
        path.write_bytes(full_header(path.read_bytes()))
    assert sum(map(check_extent, files)) > MOST_WEIGHT
    (stack,) = sort_series(scan(files).instances).stacks
    tracemalloc.start()
    volume = read_stack(stack, Modality.T2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert volume.grid.shape == (8, 10, 13)
    assert peak < 3 * 50_000 * _ELEMENT_BYTES
