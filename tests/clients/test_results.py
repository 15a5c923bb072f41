"""Results on disk: whole or not at all."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from brainmvp_clients import Client, ClientError, LocalFileError, OutputExists, UnexpectedAnswer


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results" / "study"


def _only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_results_hold_everything_and_nothing_else(
    peer: Any, call: Any, study: dict[str, Path], out: Path, mask: bytes, summary: dict[str, Any]
) -> None:
    peer.serves_results()
    found = call(peer.url, "results", "tumour", study, out, probabilities=True)
    assert found.model == "tumour"
    assert _only(out) == [
        "mask.nii.gz",
        "preview.png",
        "probabilities",
        "report.html",
        "summary.json",
    ]
    assert (out / "mask.nii.gz").read_bytes() == mask
    assert (out / "probabilities" / "core.nii.gz").read_bytes() == mask
    assert json.loads((out / "summary.json").read_text()) == summary
    assert _only(out.parent) == ["study"]


def test_results_are_as_readable_as_any_new_folder(
    peer: Any, call: Any, study: dict[str, Path], out: Path, tmp_path: Path
) -> None:
    peer.serves_results()
    call(peer.url, "results", "tumour", study, out)
    (tmp_path / "usual").mkdir()
    assert stat.S_IMODE(out.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_classification_needs_no_mask(
    peer: Any, call: Any, study: dict[str, Path], out: Path, summary: dict[str, Any]
) -> None:
    summary |= {"kind": "classification", "structures": []}
    peer.serves_results({"summary.json": json.dumps(summary).encode()})
    call(peer.url, "results", "tumour", study, out)
    assert _only(out) == ["summary.json"]


def _link() -> bytes:
    return _special("mask.nii.gz", stat.S_IFLNK | 0o777, b"/etc/passwd")


def _special(name: str, mode: int, content: bytes = b"", flags: int = 0) -> bytes:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(info, content)
    data = bytearray(file.getvalue())
    data[data.rindex(b"PK\x01\x02") + 8] |= flags
    return bytes(data)


def _twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("mask.nii.gz", b"1")
        zipped.writestr("MASK.nii.gz", b"2")
    return file.getvalue()


def _many() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for index in range(300):
            zipped.writestr(f"probabilities/{index}.nii.gz", b"")
    return file.getvalue()


BAD_ARCHIVES = {
    "traversal": _special("../mask.nii.gz", 0o644),
    "deep-traversal": _special("probabilities/../../x.nii.gz", 0o644),
    "absolute": _special("/tmp/mask.nii.gz", 0o644),
    "backslash": _special("probabilities\\x.nii.gz", 0o644),
    "link": _link(),
    "device": _special("mask.nii.gz", stat.S_IFCHR | 0o644),
    "folder": _special("probabilities/", stat.S_IFDIR | 0o755),
    "stranger": _special("run.sh", 0o755),
    "encrypted": _special("summary.json", 0o644, b"{}", flags=1),
    "twice": _twice(),
    "many": _many(),
    "no-zip": b"hello",
    "nothing": b"",
    "garbage-header": b"PK\x03\x04" + b"\xff" * 100,
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_archive_that_is_not_plain_results_leaves_nothing(
    peer: Any, call: Any, reply: Any, study: dict[str, Path], out: Path, tmp_path: Path, name: str
) -> None:
    peer.says("application/zip", reply(kind="application/zip", body=BAD_ARCHIVES[name]))
    before = _only(tmp_path)
    with pytest.raises(UnexpectedAnswer) as caught:
        call(peer.url, "results", "tumour", study, out)
    assert str(caught.value).isprintable()
    assert _only(out.parent) == []
    assert set(_only(tmp_path)) - set(before) <= {"results"}


def test_summary_that_claims_too_much_room_is_not_unpacked(
    peer: Any, call: Any, reply: Any, study: dict[str, Path], out: Path
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("summary.json", bytes(20 << 20))
    peer.says("application/zip", reply(kind="application/zip", body=file.getvalue()))
    with pytest.raises(UnexpectedAnswer, match="no result"):
        call(peer.url, "results", "tumour", study, out)
    assert _only(out.parent) == []


@pytest.mark.parametrize("missing", ["summary.json", "mask.nii.gz"])
def test_results_that_lack_a_piece_leave_nothing(
    peer: Any, call: Any, study: dict[str, Path], out: Path, summary: Any, mask: bytes, missing: str
) -> None:
    whole = {"summary.json": json.dumps(summary).encode(), "mask.nii.gz": mask}
    del whole[missing]
    peer.serves_results(whole)
    with pytest.raises(UnexpectedAnswer, match=f"without {missing}"):
        call(peer.url, "results", "tumour", study, out)
    assert _only(out.parent) == []


def test_download_is_not_held_in_memory(
    peer: Any, call: Any, study: dict[str, Path], out: Path, summary: Any
) -> None:
    peer.serves_results(
        {"summary.json": json.dumps(summary).encode(), "mask.nii.gz": bytes(32 << 20)}
    )
    tracemalloc.start()
    try:
        call(peer.url, "results", "tumour", study, out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (out / "mask.nii.gz").stat().st_size == 32 << 20
    assert peak < 16 << 20


@pytest.mark.parametrize("length", [None, 10_000_000], ids=["short", "promised-more"])
@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_truncated_zip_leaves_nothing(
    peer: Any, call: Any, reply: Any, study: dict[str, Path], out: Path, kept: float, length: Any
) -> None:
    peer.serves_results()
    body = peer.replies["application/zip"].body
    cut = body[: int(len(body) * kept)]
    peer.says("application/zip", reply(kind="application/zip", body=cut, length=length))
    with pytest.raises(ClientError):
        call(peer.url, "results", "tumour", study, out)
    assert _only(out.parent) == []


def test_flipped_bit_is_noticed(
    peer: Any, call: Any, reply: Any, study: dict[str, Path], out: Path
) -> None:
    peer.serves_results()
    body = bytearray(peer.replies["application/zip"].body)
    body[60] ^= 1
    peer.says("application/zip", reply(kind="application/zip", body=bytes(body)))
    with pytest.raises(UnexpectedAnswer, match="damaged"):
        call(peer.url, "results", "tumour", study, out)
    assert _only(out.parent) == []


def test_interrupt_leaves_nothing(peer: Any, study: dict[str, Path], out: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with Client(peer.url) as client, pytest.raises(KeyboardInterrupt):
        client.results("tumour", study, out, on_upload=interrupt)
    assert _only(out.parent) == []


def test_folder_in_use_is_refused_before_anything_is_sent(
    peer: Any, call: Any, study: dict[str, Path], out: Path
) -> None:
    out.mkdir(parents=True)
    (out / "mask.nii.gz").write_bytes(b"old")
    with pytest.raises(OutputExists, match="exists and is not empty"):
        call(peer.url, "results", "tumour", study, out)
    assert peer.requests == []
    assert (out / "mask.nii.gz").read_bytes() == b"old"


def test_overwrite_replaces_earlier_results_as_a_whole(
    peer: Any, call: Any, study: dict[str, Path], out: Path
) -> None:
    (out / "probabilities").mkdir(parents=True)
    (out / "probabilities" / "old.nii.gz").write_bytes(b"old")
    peer.serves_results()
    call(peer.url, "results", "tumour", study, out, overwrite=True)
    assert _only(out / "probabilities") == ["core.nii.gz"]
    assert _only(out.parent) == ["study"]


def test_overwrite_that_fails_keeps_the_earlier_results(
    peer: Any, call: Any, study: dict[str, Path], out: Path, reply: Any
) -> None:
    out.mkdir(parents=True)
    (out / "mask.nii.gz").write_bytes(b"old")
    peer.says("application/zip", reply(500))
    with pytest.raises(ClientError):
        call(peer.url, "results", "tumour", study, out, overwrite=True)
    assert (out / "mask.nii.gz").read_bytes() == b"old"
    assert _only(out.parent) == ["study"]


def test_overwrite_never_deletes_what_is_no_result(
    peer: Any, call: Any, study: dict[str, Path], out: Path
) -> None:
    out.mkdir(parents=True)
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExists, match=r"thesis\.tex"):
        call(peer.url, "results", "tumour", study, out, overwrite=True)
    assert (out / "thesis.tex").exists()


def test_empty_folder_is_taken(peer: Any, call: Any, study: dict[str, Path], out: Path) -> None:
    out.mkdir(parents=True)
    peer.serves_results()
    call(peer.url, "results", "tumour", study, out)
    assert "mask.nii.gz" in _only(out)


def test_file_in_place_of_the_folder_is_named(
    peer: Any, call: Any, study: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputExists, match="is a file"):
        call(peer.url, "results", "tumour", study, tmp_path / "file")
    with pytest.raises(LocalFileError, match="cannot be written"):
        call(peer.url, "results", "tumour", study, tmp_path / "file" / "below")


def test_current_folder_is_not_swapped_from_under_the_shell(
    peer: Any, call: Any, study: dict[str, Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.mkdir(parents=True)
    monkeypatch.chdir(out)
    with pytest.raises(OutputExists, match="Give a new folder inside it"):
        call(peer.url, "results", "tumour", study, ".")


def test_mask_is_written_whole(
    peer: Any, call: Any, study: dict[str, Path], tmp_path: Path, mask: bytes
) -> None:
    peer.serves_results()
    target = tmp_path / "masks" / "one.nii.gz"
    assert call(peer.url, "mask", "tumour", study, target, fill="zeros") == target
    assert target.read_bytes() == mask
    assert peer.requests[0].headers["accept"] == "application/gzip"
    assert _only(target.parent) == ["one.nii.gz"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain",
        gzip.compress(b""),
        gzip.compress(bytes(range(256)) * 99)[:-3],
        gzip.compress(b"x" * 999)[:-8] + bytes(8),
    ],
    ids=["nothing", "no-gzip", "empty", "cut", "wrong-sum"],
)
def test_damaged_mask_leaves_nothing(
    peer: Any, call: Any, reply: Any, study: dict[str, Path], tmp_path: Path, body: bytes
) -> None:
    peer.says("application/gzip", reply(kind="application/gzip", body=body, length=-1))
    target = tmp_path / "masks" / "one.nii.gz"
    with pytest.raises(UnexpectedAnswer):
        call(peer.url, "mask", "tumour", study, target)
    assert _only(target.parent) == []


def test_mask_does_not_replace_a_file_unasked(
    peer: Any, call: Any, study: dict[str, Path], tmp_path: Path, mask: bytes
) -> None:
    peer.serves_results()
    target = tmp_path / "one.nii.gz"
    target.write_bytes(b"old")
    with pytest.raises(OutputExists, match="ask to overwrite"):
        call(peer.url, "mask", "tumour", study, target)
    assert target.read_bytes() == b"old"
    call(peer.url, "mask", "tumour", study, target, overwrite=True)
    assert target.read_bytes() == mask
