"""Volumes in other formats than one NIfTI file: read like it, or told what to do instead."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainmvp_models.errors import BrainMVPError, InvalidVolume
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.formats.pair import paired
from brainmvp_server.imaging.intake import one_series, take_in
from brainmvp_server.imaging.nifti import Limits, outline_nifti, read_nifti

# Oblique, mirrored and anisotropic, so that every row and column matters.
_TURN = nib.eulerangles.euler2mat(0.1, -0.2, 0.3)
AFFINE = np.eye(4)
AFFINE[:3, :3] = _TURN @ np.diag([-0.9, 1.1, 3.0])
AFFINE[:3, 3] = (31.5, -20.25, 7.125)
SHAPE = (5, 6, 7)
_TO_RAS = {
    "left-posterior-superior": (-1, -1, 1),
    "LPS": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "RAS": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior-time": (-1, -1, 1),
}


def voxels(dtype: str = "i2") -> np.ndarray:
    return np.random.default_rng(3).integers(0, 100, SHAPE).astype(dtype)


def tarred(content: bytes) -> bytes:
    body = BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        entry = tarfile.TarInfo("t1.nii")
        entry.size = len(content)
        archive.addfile(entry, BytesIO(content))
    return body.getvalue()


def mgh(name: str, dtype: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        nib.save(nib.MGHImage(voxels(dtype), AFFINE), folder / name)
        return folder / name

    return write


def nrrd_header(space: str = "left-posterior-superior", **fields: Any) -> dict[str, Any]:
    """The same place as ``AFFINE``, by the definition of NRRD."""
    signs = np.asarray(_TO_RAS[space])
    return {
        "space": space,
        "space directions": (AFFINE[:3, :3] * signs[:, None]).T,
        "space origin": AFFINE[:3, 3] * signs,
        **fields,
    }


def as_nrrd(
    dtype: str = "i2", space: str = "left-posterior-superior", **fields: Any
) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "a.nrrd"
        nrrd.write(str(path), voxels(dtype), nrrd_header(space, **fields))
        return path

    return write


def nrrd_packed(folder: Path) -> Path:
    path = as_nrrd(encoding="raw")(folder)
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def nrrd_with_a_list_of_one(folder: Path) -> Path:
    """As tools write a single component before the three axes."""
    path = folder / "a.nrrd"
    header = nrrd_header()
    header["space directions"] = np.vstack([np.full(3, np.nan), header["space directions"]])
    nrrd.write(str(path), voxels()[None], {**header, "kinds": ["list", *["domain"] * 3]})
    return path


def pair(kind: type[nib.Nifti1Pair], ending: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        nib.save(kind(voxels(), AFFINE), folder / f"a.img{ending}")
        halves = [Unpacked(folder / name, name) for name in (f"a.img{ending}", f"a.hdr{ending}")]
        (whole,) = paired(halves, folder)
        assert whole.name == "a.nii"
        return whole.path

    return write


FORMATS: dict[str, Callable[[Path], Path]] = {
    "mgh uint8": mgh("a.mgh", "u1"),
    "mgh int16": mgh("a.mgh", "i2"),
    "mgz int32": mgh("a.mgz", "i4"),
    "mgz float32": mgh("a.mgz", "f4"),
    **{f"nrrd {space}": as_nrrd(space=space) for space in _TO_RAS},
    **{f"nrrd {dtype}": as_nrrd(dtype) for dtype in ("i1", "u1", "u2", "i4", "u4", "f4", "f8")},
    "nrrd raw": as_nrrd(encoding="raw"),
    "nrrd big-endian": as_nrrd(">i2", encoding="raw", endian="big"),
    "nrrd through gzip": nrrd_packed,
    "nrrd with a list of one": nrrd_with_a_list_of_one,
    "pair": pair(nib.Nifti1Pair, ""),
    "pair through gzip": pair(nib.Nifti1Pair, ".gz"),
    "pair of NIfTI-2": pair(nib.Nifti2Pair, ""),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_volume_of_another_format_has_the_voxels_and_the_place_that_nibabel_gives(
    tmp_path: Path, name: str
) -> None:
    path = FORMATS[name](tmp_path)
    volume = read_nifti(path, Modality.T1)
    reference = nib.Nifti1Image(voxels(), AFFINE)
    np.testing.assert_array_equal(volume.values(volume.stored), reference.get_fdata())
    np.testing.assert_allclose(volume.grid.affine, reference.affine, atol=1e-4)
    assert volume.warnings == ()
    assert outline_nifti(path, Modality.T1).grid.shape == SHAPE


def test_freesurfers_volume_lies_where_nibabel_reads_it(tmp_path: Path) -> None:
    """MGH keeps the centre and cosines in float32: nibabel's own reading is the reference."""
    path = mgh("a.mgz", "i2")(tmp_path)
    np.testing.assert_array_equal(read_nifti(path, Modality.T1).grid.affine, nib.load(path).affine)


def test_a_nrrd_without_a_space_is_used_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), voxels(), {"spacings": [0.9, 1.1, 3.0]})
    volume = read_nifti(path, Modality.T1)
    (warning,) = volume.warnings
    assert "left and right" in warning
    np.testing.assert_allclose(volume.grid.spacing, (0.9, 1.1, 3.0))


def test_a_nrrds_units_count(tmp_path: Path) -> None:
    header = nrrd_header()
    header["space directions"] = header["space directions"] / 10
    header["space origin"] = header["space origin"] / 10
    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), voxels(), {**header, "space units": ["cm", "cm", "cm"]})
    np.testing.assert_allclose(read_nifti(path, Modality.T1).grid.affine, AFFINE, atol=1e-4)


NIFTI = nib.Nifti1Image(voxels(), AFFINE).to_bytes()
_RAW = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 5 6 7\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nkinds: domain domain domain\nendian: little\n"
    "encoding: raw\nspace origin: (0,0,0)\n"
)


def text_nrrd(*changes: tuple[str, str], data: bytes = voxels().tobytes("F")) -> bytes:
    text = _RAW
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text.encode() + b"\n" + data


# The bytes of a file, and what its refusal says: what it is, and what to do instead.
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "tar in gzip": (lambda: gzip.compress(tarred(NIFTI)), "tar archive.*Unpack"),
    "bzip2": (lambda: bz2.compress(NIFTI), "bzip2.*bunzip2"),
    "xz": (lambda: lzma.compress(NIFTI), "xz.*unxz"),
    "zstd": (lambda: b"\x28\xb5\x2f\xfd" + NIFTI, "zstd.*unzstd"),
    "gzip twice": (lambda: gzip.compress(gzip.compress(NIFTI)), "compressed twice.*gunzip"),
    "bzip2 in gzip": (lambda: gzip.compress(bz2.compress(NIFTI)), "bzip2"),
    "7-Zip": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(99), "7-Zip.*Unpack"),
    "RAR": (lambda: b"Rar!\x1a\x07" + bytes(99), "RAR.*Unpack"),
    "MINC": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "MINC.*mnc2nii"),
    "MetaImage": (lambda: b"ObjectType = Image\n", "MetaImage.*NIfTI"),
    "PNG": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(99), "PNG.*not a picture"),
    "text": (lambda: b"this is a letter", r"not a NIfTI.*\.nii\.gz"),
    "half of a pair": (lambda: nib_header(), r"pair.*both in one zip"),
    "mgh cut in its header": (lambda: b"\0\0\0\1" + bytes(100), "ends within its header"),
    "mgh of no type": (
        lambda: np.array([1, 4, 4, 4, 1, 99], ">i4").tobytes() + bytes(400), "damaged.*mri_convert"
    ),
    "nrrd cut": (lambda: text_nrrd()[:-9], "ends early"),
    "nrrd without an end": (lambda: _RAW.encode(), "does not end"),
    "nrrd of endless lines": (lambda: b"NRRD0004\n" + b"# x\n" * 99999, "does not end"),
    "nrrd elsewhere": (
        lambda: text_nrrd(("encoding: raw", "encoding: raw\ndata file: /etc/passwd")),
        r"another file.*one \.nrrd file",
    ),
    "nrrd elsewhere, another way": (
        lambda: text_nrrd(("encoding: raw", "encoding: raw\ndatafile: LIST")), "another file"
    ),
    "nrrd with a skip": (
        lambda: text_nrrd(("encoding: raw", "encoding: raw\nbyte skip: -1")), "do not follow"
    ),
    "nrrd as text": (lambda: text_nrrd(("encoding: raw", "encoding: ascii")), "encoding"),
    "nrrd bzip2": (lambda: text_nrrd(("encoding: raw", "encoding: bzip2")), "encoding"),
    "nrrd of blocks": (lambda: text_nrrd(("type: short", "type: block")), "does not describe"),
    "nrrd without endian": (lambda: text_nrrd(("endian: little\n", "")), "does not describe"),
    "nrrd of four axes": (
        lambda: text_nrrd(
            ("dimension: 3", "dimension: 4"), ("sizes: 5 6 7", "sizes: 2 5 6 7"),
            ("directions: ", "directions: none "), ("kinds: ", "kinds: vector "),
            data=bytes(840),
        ),
        "4-dimensional",
    ),
    "nrrd of no place": (
        lambda: text_nrrd(("(0,0,1)", "(0,0,0)")), "singular"
    ),
    "nrrd bomb": (
        lambda: text_nrrd(
            ("sizes: 5 6 7", "sizes: 400 400 400"), ("encoding: raw", "encoding: gzip"),
            data=gzip.compress(bytes(9999)),
        ),
        "more than any scan packs",
    ),
    "nrrd whose gzip is damaged": (
        lambda: text_nrrd(
            ("encoding: raw", "encoding: gzip"), data=gzip.compress(voxels().tobytes("F"))[:-60]
        ),
        "damaged or ends early",
    ),
}  # fmt: skip


def nib_header() -> bytes:
    return bytes(nib.Nifti1Pair(voxels(), AFFINE).header.binaryblock) + b"\0\0\0\0"


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_read_is_told_what_to_do_instead(tmp_path: Path, name: str) -> None:
    make, words = REFUSED[name]
    path = tmp_path / "t1"
    path.write_bytes(make())
    with pytest.raises(InvalidVolume, match=f"(?s){words}") as caught:
        read_nifti(path, Modality.T1)
    assert caught.value.subject == "t1" and caught.value.remedy


def zipped(*paths: Path) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    return packed.getvalue()


def test_a_pair_in_a_zip_is_one_series(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(voxels(), AFFINE), tmp_path / "t1.img")
    part, folder = tmp_path / "part", tmp_path / "folder"
    folder.mkdir()
    part.write_bytes(zipped(tmp_path / "t1.hdr", tmp_path / "t1.img"))
    source = one_series(part, Modality.T1, folder)
    assert isinstance(source, Path)
    volume = read_nifti(source, Modality.T1)
    np.testing.assert_array_equal(volume.stored, voxels())


def test_a_heap_of_formats_is_told_apart_by_its_names(tmp_path: Path) -> None:
    sub, folder = tmp_path / "sub", tmp_path / "folder"
    sub.mkdir()
    folder.mkdir()
    nib.save(nib.Nifti1Pair(voxels(), AFFINE), sub / "t2.img")
    nib.save(nib.MGHImage(voxels(), AFFINE), sub / "t1.mgz")
    nrrd.write(str(sub / "flair.nrrd"), voxels(), nrrd_header())
    (sub / "notes.txt").write_text("nothing")
    found = take_in([Unpacked(path, path.name) for path in sorted(sub.iterdir())], folder)
    assert {file.modality for file in found.nifti} == {Modality.T1, Modality.T2, Modality.FLAIR}
    for modality, path in found.sources().items():
        assert isinstance(path, Path)
        np.testing.assert_array_equal(read_nifti(path, modality).stored, voxels())


@pytest.mark.parametrize("bits", ["7f800001", "7f800000", "7fc00000"])
def test_an_mgh_header_of_numbers_that_are_none_is_refused_in_silence(
    tmp_path: Path, bits: str
) -> None:
    body = bytearray(nib.MGHImage(voxels(), AFFINE).to_bytes())
    body[30:90] = bytes.fromhex(bits) * 15  # spacing, cosines and centre
    path = tmp_path / "odd.mgh"
    path.write_bytes(body)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidVolume, match="singular"):
            read_nifti(path, Modality.T1)


@pytest.mark.parametrize("base", ["mgh", "nrrd", "nrrd gzip"])
@given(
    edits=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 400),
)
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
def test_no_bytes_break_the_readers_but_by_their_own_errors(
    tmp_path: Path, base: str, edits: list[tuple[int, int]], cut: int
) -> None:
    body = bytearray(
        {
            "mgh": lambda: nib.MGHImage(voxels(), AFFINE).to_bytes(),
            "nrrd": text_nrrd,
            "nrrd gzip": lambda: text_nrrd(
                ("encoding: raw", "encoding: gzip"), data=gzip.compress(voxels().tobytes("F"))
            ),
        }[base]()
    )
    for place, byte in edits:
        body[place % len(body)] = byte
    path = tmp_path / "fuzz"
    path.write_bytes(bytes(body[: len(body) - cut] if cut < 200 else body))
    try:
        volume = read_nifti(path, Modality.T1, Limits(voxels=10_000))
    except BrainMVPError as error:
        assert error.problem and error.remedy and error.subject == "t1"
    else:
        assert np.isfinite(volume.grid.affine).all()
