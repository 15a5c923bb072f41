"""Compressed pixels: every value as it was packed, and no stream, however damaged, stops others."""

from __future__ import annotations

import contextlib
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import data as examples
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from brainmvp_server.imaging.dicom.compressed import DamagedFrame, decode_frame
from dicom_frames import ENCODERS, holds_the_lock, stream_of

TYPES = [("u1", 8), ("u2", 8), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16)]


def header_of(frame: NDArray[Any], bits: int | None = None) -> Dataset:
    dataset = Dataset()
    dataset.Rows, dataset.Columns = frame.shape
    dataset.BitsAllocated = 8 * frame.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.PixelRepresentation = int(frame.dtype.kind == "i")
    return dataset


def frame_of(kind: str, bits: int, size: tuple[int, int] = (37, 50)) -> NDArray[Any]:
    """Smooth and noisy, over the whole range of its bits."""
    low = -(1 << bits - 1) if kind[0] == "i" else 0
    ramp = np.add.outer(np.arange(size[0]), np.arange(size[1])) * (1 << bits) // sum(size)
    ramp += np.random.default_rng(0).integers(0, 9, size)
    return (low + np.clip(ramp, 0, (1 << bits) - 1)).astype(kind)


@pytest.mark.parametrize(("kind", "bits"), TYPES)
@pytest.mark.parametrize("syntax", ENCODERS)
def test_every_value_is_read_as_it_was_packed(syntax: str, kind: str, bits: int) -> None:
    frame = frame_of(kind, bits)
    found = decode_frame(ENCODERS[syntax](frame), header_of(frame, bits), syntax)
    assert found.dtype == frame.dtype
    np.testing.assert_array_equal(found, frame)


@pytest.mark.parametrize(
    ("command", "bits", "signed", "tolerance"),
    [
        ("dcmcjpeg +e1", 16, 1, 0),
        ("dcmcjpeg +e1", 12, 0, 0),
        ("dcmcjpeg +el +sv 6", 12, 1, 0),
        ("dcmcjpeg +e1", 8, 0, 0),
        ("dcmcjpeg +ee +q 100", 12, 0, 12),
        ("dcmcjpeg +eb +q 100", 8, 0, 8),
        ("dcmcjpls +el", 16, 1, 0),
        ("dcmcjpls +el", 12, 1, 0),
        ("dcmcjpls +el", 12, 0, 0),
        ("dcmcjpls +el", 8, 0, 0),
        ("dcmcjpls +en +md 2", 12, 0, 2),
        ("dcmcrle", 16, 1, 0),
        ("dcmcrle", 12, 0, 0),
        ("dcmcrle", 8, 0, 0),
    ],
)
def test_what_another_program_packs_is_read_as_its_values(
    tmp_path: Path,
    program: Callable[[str], Path],
    command: str,
    bits: int,
    signed: int,
    tolerance: int,
) -> None:
    frame = frame_of(("i" if signed else "u") + ("2" if bits > 8 else "1"), bits)
    plain = pydicom.dcmread(Path(examples.__file__).parent / "test_files" / "MR_small.dcm")
    plain.update(header_of(frame, bits))
    plain.HighBit = bits - 1
    plain["PixelData"].VR = "OW" if bits > 8 else "OB"
    plain.PixelData = frame.tobytes().ljust(frame.nbytes + frame.nbytes % 2, b"\0")
    plain.save_as(tmp_path / "plain")
    name, *options = command.split()
    subprocess.run([program(name), *options, tmp_path / "plain", tmp_path / "packed"], check=True)
    packed = pydicom.dcmread(tmp_path / "packed")
    found = decode_frame(stream_of(packed), packed, packed.file_meta.TransferSyntaxUID)
    np.testing.assert_allclose(found.astype(int), frame, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
    ],
)
def test_real_samples_hold_the_values_of_their_plain_twins(packed: str, plain: str) -> None:
    folder = Path(examples.__file__).parent / "test_files"
    one = pydicom.dcmread(folder / packed)
    wanted = pydicom.dcmread(folder / plain).pixel_array.reshape(-1, one.Rows, one.Columns)[0]
    found = decode_frame(stream_of(one), one, one.file_meta.TransferSyntaxUID)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_a_stream_with_the_wrong_sign_is_read_with_its_header_s() -> None:
    """A real file: 13 signed bits in a stream that says unsigned."""
    path = Path(examples.__file__).parent / "test_files" / "J2K_pixelrep_mismatch.dcm"
    one = pydicom.dcmread(path)
    found = decode_frame(stream_of(one), one, one.file_meta.TransferSyntaxUID)
    assert (found.dtype, int(found.min())) == (np.int16, -2000)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "whole": bytes,
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut at an odd byte": lambda data: data[: len(data) // 4 | 1],
    "100 bytes": lambda data: data[:100],
    "an end in the middle": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "nothing in the middle": lambda data: data[: len(data) // 3] + data[len(data) // 2 :],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("syntax", ENCODERS)
def test_no_frame_whole_or_damaged_stops_everybody_else(syntax: str, damage: str) -> None:
    frame = frame_of("u2", 16, (1500, 1500))
    data = DAMAGES[damage](ENCODERS[syntax](frame))
    assert not holds_the_lock(lambda: decode_frame(data, header_of(frame), syntax))


@pytest.mark.parametrize("missing", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_frame_whose_last_bytes_are_missing_is_refused_or_read_whole(
    syntax: str, missing: int
) -> None:
    frame = frame_of("u2", 16)
    data = ENCODERS[syntax](frame)[:-missing]
    try:
        found = decode_frame(data, header_of(frame), syntax)
    except Exception:
        return
    np.testing.assert_array_equal(found, frame)


def test_run_lengths_that_unpack_to_anything_take_no_memory() -> None:
    frame = np.zeros((512, 512), np.uint8)
    header = np.array([1, 64, *[0] * 14], "<u4").tobytes()
    bomb = header + b"\x81\x00" * (1 << 20)  # 128 MiB
    tracemalloc.start()
    with pytest.raises(Exception, match="TOO_SMALL"):
        decode_frame(bomb, header_of(frame), RLELossless)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("wrong", ["rows", "bits", "samples"])
def test_a_stream_that_claims_what_its_header_does_not_is_refused(syntax: str, wrong: str) -> None:
    frame = frame_of("u2", 16)
    header = header_of(frame)
    packed = frame
    if wrong == "rows":
        header.Rows += 1
    elif wrong == "bits":
        header.BitsAllocated = header.BitsStored = 8
    else:
        packed = np.stack([frame] * 3, axis=-1)
    with pytest.raises(DamagedFrame, match="claim another size"):
        decode_frame(ENCODERS[syntax](packed), header, syntax)


@given(
    edits=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(4, 6000),
)
@settings(deadline=None, max_examples=200)
@pytest.mark.parametrize("syntax", [*ENCODERS])
def test_no_damaged_stream_ends_the_process(
    syntax: str, edits: list[tuple[int, int]], cut: int
) -> None:
    frame = frame_of("u2", 12)
    body = bytearray(ENCODERS[syntax](frame))
    for place, byte in edits:
        body[place % len(body)] = byte
    with contextlib.suppress(Exception):
        decode_frame(bytes(body[:cut]), header_of(frame, 12), syntax)
