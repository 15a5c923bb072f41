"""Reading DICOM: what goes in as a series comes out as the same voxels at the same millimetres."""

from __future__ import annotations

import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import data as examples
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, JPEG2000Lossless, generate_uid

from brainmvp_models.errors import BrainMVPError, InvalidVolume, MixedStudy, VolumeTooLarge
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.dicom.files import scan
from brainmvp_server.imaging.dicom.pixels import read_stack
from brainmvp_server.imaging.dicom.series import SetAside, Sorted, Stack, sort_series
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.volume import Volume
from dicom_frames import ENCODERS, compress
from dicom_studies import (
    PLANTED,
    VENDORS,
    Study,
    affine_for,
    contrast_image,
    header_of,
    write_series,
    write_study,
)


def sorted_study(paths: object) -> Sorted:
    return sort_series(scan(paths).instances)  # type: ignore[arg-type]


def only(study: Sorted) -> Stack:
    assert study.set_aside == ()
    (stack,) = study.stacks
    return stack


def refused(paths: object) -> SetAside:
    study = sorted_study(paths)
    assert study.stacks == ()
    (aside,) = study.set_aside
    return aside


def assert_same(volume: Volume, image: nib.Nifti1Image) -> None:
    """Equal voxels at equal places, whichever way the slices run."""
    wanted = Grid(image.shape, image.affine)
    here, there = volume.grid.canonical(), wanted.canonical()
    assert here.shape == there.shape
    np.testing.assert_allclose(here.affine, there.affine, atol=1e-4)
    values = volume.values(volume.grid.orientation.view(volume.stored))
    np.testing.assert_array_equal(values, wanted.orientation.view(np.asarray(image.dataobj)))


@pytest.fixture
def series(tmp_path: Path) -> tuple[Path, ...]:
    image = contrast_image("t2", grid=((32, 40, 12), (5.0, 5.0, 6.0)))
    return write_series(tmp_path, [image], header_of("siemens", "t2"), "siemens").files


def edit(path: Path, change: Callable[[pydicom.Dataset], None]) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


@given(
    plane=st.sampled_from(["axial", "coronal", "sagittal", "oblique"]),
    reverse=st.booleans(),
    enhanced=st.booleans(),
    vendor=st.sampled_from(VENDORS),
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 9.0)] * 3),
    centre=st.tuples(*[st.floats(-90, 90)] * 3),
)
@settings(deadline=None, max_examples=60)
def test_any_plane_and_slice_order_round_trips_to_a_tenth_of_a_micrometre(
    plane: str,
    reverse: bool,
    enhanced: bool,
    vendor: str,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    centre: tuple[float, float, float],
) -> None:
    affine = affine_for(plane, spacing, shape, reverse=reverse, centre=centre)
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape) - 5
    image = nib.Nifti1Image(voxels, affine)
    with tempfile.TemporaryDirectory() as folder:
        written = write_series(
            Path(folder), [image], header_of(vendor, "t2"), vendor, enhanced=enhanced
        )
        assert_same(read_stack(only(sorted_study(written.files)), Modality.T2), image)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_a_diffusion_series_is_split_by_b_value(
    tmp_path: Path, vendor: str, enhanced: bool
) -> None:
    study = write_study(tmp_path, vendor, ("dwi",), enhanced=enhanced)
    low, high = sorted_study(study.files).stacks
    assert (low.header.b_value, high.header.b_value) == (0, 1000)
    assert (low.label, high.label) == ("1.1", "1.2")
    for stack, image in zip((low, high), study.series["dwi"].images, strict=True):
        assert_same(read_stack(stack, Modality.DWI), image)


def test_a_dual_echo_series_is_split_by_echo_time(series: tuple[Path, ...]) -> None:
    for path in series[:]:
        first = pydicom.dcmread(path)
        first.EchoTime, first.SOPInstanceUID = 15.0, generate_uid()
        first.save_as(path.with_name(path.name + "b"))
    both = [*series, *(path.with_name(path.name + "b") for path in series)]
    assert [stack.header.echo_time for stack in sorted_study(both).stacks] == [15, 99]


@pytest.mark.parametrize("syntax", ENCODERS)
def test_compressed_series_read_as_their_voxels(series: tuple[Path, ...], syntax: str) -> None:
    plain = read_stack(only(sorted_study(series)), Modality.T2)
    for path in series:
        edit(path, lambda ds: compress(ds, syntax))
    packed = read_stack(only(sorted_study(series)), Modality.T2)
    np.testing.assert_array_equal(packed.stored, plain.stored)
    assert packed.digest == plain.digest


def test_a_syntax_that_cannot_be_read_is_named(series: tuple[Path, ...]) -> None:
    def disguise(dataset: pydicom.Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML
        dataset.PixelData = encapsulate([b"\xff\xd8" + bytes(30)])
        dataset["PixelData"].is_undefined_length = True

    for path in series:
        edit(path, disguise)
    with pytest.raises(InvalidVolume, match=r"MPEG2.*Send it uncompressed"):
        read_stack(only(sorted_study(series)), Modality.T2)


def test_slopes_that_differ_from_slice_to_slice_are_applied(series: tuple[Path, ...]) -> None:
    plain = read_stack(only(sorted_study(series)), Modality.T2)
    for number, path in enumerate(series):

        def scale(dataset: pydicom.Dataset, number: int = number) -> None:
            dataset.RescaleSlope, dataset.RescaleIntercept = 1 + number, -3

        edit(path, scale)
    scaled = read_stack(only(sorted_study(series)), Modality.T2)
    factors = 1 + np.arange(len(series))
    np.testing.assert_allclose(scaled.stored, plain.stored * factors - 3.0)


def test_a_missing_slice_is_refused_and_the_gap_named_in_mm(series: tuple[Path, ...]) -> None:
    aside = refused(series[:5] + series[6:])
    assert aside.damaged
    assert "6.00 mm apart, but 12.00 mm between slice 5 and 6" in aside.reason


def test_a_slice_in_the_place_of_another_is_refused(series: tuple[Path, ...]) -> None:
    position = pydicom.dcmread(series[4]).ImagePositionPatient
    edit(series[3], lambda ds: setattr(ds, "ImagePositionPatient", position))
    aside = refused(series)
    assert aside.damaged and "lie where another one does" in aside.reason


def test_an_object_sent_twice_counts_once(series: tuple[Path, ...], tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.write_bytes(series[2].read_bytes())
    assert only(sorted_study((*series, again))).header.slices == len(series)


def test_a_time_series_is_set_aside(series: tuple[Path, ...]) -> None:
    files = list(series)
    for repeat in range(1, 6):
        for path in series:
            dataset = pydicom.dcmread(path)
            dataset.AcquisitionNumber = repeat + 1
            dataset.SOPInstanceUID = generate_uid()
            files.append(path.with_name(f"{path.name}r{repeat}"))
            dataset.save_as(files[-1])
    aside = refused(files)
    assert not aside.damaged and "each slice 6 times" in aside.reason


def test_a_localizer_in_three_orientations_is_set_aside(tmp_path: Path) -> None:
    aside = refused(write_study(tmp_path, contrasts=("localizer",)).files)
    assert "3 orientations" in aside.reason


def test_patients_and_studies_are_never_mixed(tmp_path: Path) -> None:
    one = write_study(tmp_path / "a", contrasts=("t2",), seed="1")
    two = write_study(tmp_path / "b", contrasts=("t2",), seed="2")
    with pytest.raises(MixedStudy, match="2 patients") as caught:
        sorted_study(one.files + two.files)
    assert not any(word in str(caught.value) for word in PLANTED)


def test_a_volume_over_the_limit_is_refused_before_its_pixels_are_read(
    series: tuple[Path, ...],
) -> None:
    stack = only(sorted_study(series))
    for path in series:
        path.unlink()
    with pytest.raises(VolumeTooLarge, match="series 1 has 15360 voxels"):
        read_stack(stack, Modality.T2, Limits(voxels=1000))


def test_compressed_bytes_that_claim_a_huge_image_take_no_memory(
    series: tuple[Path, ...],
) -> None:
    def inflate(dataset: pydicom.Dataset) -> None:
        compress(dataset, JPEG2000Lossless)
        data = bytearray(dataset.PixelData)
        place = data.index(b"\xff\x4f\xff\x51") + 8
        data[place : place + 8] = struct.pack(">2I", 60_000, 60_000)
        dataset.PixelData = bytes(data)

    for path in series:
        edit(path, inflate)
    stack = only(sorted_study(series))
    tracemalloc.start()
    with pytest.raises(InvalidVolume, match="claim another size"):
        read_stack(stack, Modality.T2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


@given(
    edits=st.lists(st.tuples(st.integers(132, 3000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 1500),
)
@settings(deadline=None, max_examples=150)
def test_no_bytes_break_the_reader_but_by_its_own_errors(
    edits: list[tuple[int, int]], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = contrast_image("t2", grid=((8, 10, 3), (20.0, 20.0, 30.0)))
        header = header_of("ge", "dwi")
        files = write_series(Path(folder), [image, image], header, "ge").files
        body = bytearray(files[0].read_bytes())
        for place, byte in edits:
            body[place % len(body)] = byte
        files[0].write_bytes(bytes(body[: len(body) - cut] if cut < 700 else body))
        started = time.monotonic()
        try:
            for stack in sorted_study(files).stacks:
                volume = read_stack(stack, Modality.DWI, Limits(voxels=10_000))
                assert np.isfinite(volume.grid.affine).all()
        except BrainMVPError as error:
            assert error.problem and error.remedy
            assert not any(word in str(error) for word in PLANTED)
        assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_small_RLE.dcm", "one slice"),
        ("CT_small.dcm", "not magnetic resonance"),
        ("SC_rgb_rle.dcm", "in colour"),
        ("rtplan.dcm", "no image"),
        ("reportsi.dcm", "no image"),
        ("image_dfl.dcm", "not magnetic resonance"),
        ("no_meta.dcm", "no image"),
    ],
)
def test_real_files_that_are_no_series_are_set_aside(name: str, reason: str) -> None:
    found = scan([Path(examples.__file__).parent / "test_files" / name])
    study = sort_series(found.instances)
    assert study.stacks == ()
    reasons = [aside.reason for aside in study.set_aside]
    reasons += ["no image"] * found.other + ["unreadable"] * found.unreadable
    assert len(reasons) == 1 and reason in reasons[0]


def test_a_real_spine_study_holds_localizers_and_projections_only() -> None:
    """98892003 of pydicom's DICOMDIR example: three real MR studies of one patient."""
    folder = Path(examples.__file__).parent / "test_files" / "dicomdirtests" / "98892003"
    found = scan(path for path in folder.rglob("*") if path.is_file())
    assert (len(found.instances), found.unreadable) == (17, 0)
    with pytest.raises(MixedStudy, match="3 studies"):
        sort_series(found.instances)
    for uid in {one.study for one in found.instances}:
        study = sort_series(one for one in found.instances if one.study == uid)
        assert study.stacks == ()
        assert all("orientations" in a.reason or "one slice" in a.reason for a in study.set_aside)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return write_study(tmp_path_factory.mktemp("whole"), "philips", ("t1", "t2", "flair"))


def test_a_study_in_one_heap_comes_apart_into_its_series(whole: Study) -> None:
    mixed = [whole.files[i] for i in np.random.default_rng(3).permutation(len(whole.files))]
    stacks = sorted_study(mixed).stacks
    assert [stack.header.plane for stack in stacks] == ["sagittal", "axial", "axial"]
    assert {stack.frame_of_reference for stack in stacks} == {whole.frame}
    for stack, series in zip(stacks, whole.series.values(), strict=True):
        assert_same(read_stack(stack, Modality.T1), series.image)
