"""Does anything that somebody sends stop everybody else? The longest wait for ``/health/live``.

    python benchmarks/stalls.py [--models DIR] [--at-once 4] [--only TEXT] [--write]

Each kind of file is sent by several clients at once, while another one asks for ``/health/live`` a
hundred times a second. A series' last slice is of another type than the rest: it is refused when
everything before it has been decoded, so that no network runs. ``--write`` keeps the table in
``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pydicom
from load import served
from study import HERE, PAGE, machine, say
from tables import keep

sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from dicom_frames import ENCODERS, compress
from dicom_studies import header_of, write_series
from hostile_headers import HOSTILE, IMAGE, file_of

Parts = list[tuple[str, tuple[str, bytes]]]
SLICES, SIZE = 4, 1024
ZEROS = bytes(1 << 28)
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "whole": bytes,
    "cut": lambda data: data[: len(data) // 2 | 1],
}


def image(size: int, slices: int) -> nib.Nifti1Image:
    """A smooth and noisy head-sized block."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(size), np.arange(size))[..., None] % 3000
    voxels = (ramp + rng.integers(0, 40, (size, size, slices))).astype(np.int16)
    return nib.Nifti1Image(voxels, np.diag((200 / size, 200 / size, 5, 1)))


def series(folder: Path, syntax: str | None, damage: Callable[[bytes], bytes]) -> Parts:
    """A series, whose slices but the last are packed and damaged."""
    written = write_series(folder, [image(SIZE, SLICES)], header_of("siemens", "t1"), "siemens")
    paths = sorted(written.files, key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        if number == SLICES - 1:
            dataset.PixelData = (dataset.pixel_array >> 5).astype(np.uint8).tobytes()
            dataset.BitsAllocated = dataset.BitsStored = 8
            dataset.HighBit, dataset.PixelRepresentation = 7, 0
        elif syntax is not None:
            compress(dataset, syntax, damage)
        dataset.save_as(path)
    inside = {path.name: path.read_bytes() for path in paths}
    return [("t1", ("t1.zip", zipped(inside, zipfile.ZIP_STORED)))]


def cases() -> Iterator[tuple[str, Callable[[Path], Parts]]]:
    """What is sent, and what makes it in an empty folder."""
    yield "nothing", lambda _: []
    yield "uncompressed, whole", lambda folder: series(folder, None, bytes)
    for syntax in ENCODERS:
        for name, damage in DAMAGES.items():
            kind = pydicom.uid.UID(syntax).name.split(",")[0].split(" Image")[0]
            yield f"{kind}, {name}", lambda folder, s=syntax, d=damage: series(folder, s, d)
    for name, body in HOSTILE.items():
        yield (
            f"DICOM header: {name}",
            lambda folder, b=body: [
                ("files", ("x", file_of(folder / "x", b() + IMAGE).read_bytes()))
            ],
        )
    packed = gzip.compress(image(256, 256).to_bytes(), 1)
    yield "NIfTI, gzip, cut", lambda _: [("t1", ("x.nii.gz", packed[: len(packed) // 2]))]
    many = dict.fromkeys(map(str, range(20_000)), b"nothing")
    yield "zip of 20,000 files", lambda _: [("files", ("x.zip", zipped(many)))]
    yield "zip, unpacks to 500 times", lambda _: [("files", ("x.zip", zipped({"0": ZEROS})))]


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def longest_wait(url: str, parts: Parts, at_once: int) -> tuple[float, float, set[str]]:
    """Seconds that ``/health/live`` took at most, that all took, and what was answered.

    Who asks is a process of its own: one that packs 50 MB to send them holds its own lock.
    """
    said: set[str] = set()

    def send() -> None:
        with httpx.Client(base_url=url, timeout=600) as http:
            form = {"files": parts, "params": {"fill": "zeros"}}
            answer = http.post("/v1/models/demo-glioma/predict", **form)
            said.add(str(answer.status_code))

    command = [sys.executable, __file__, "--watch", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdin is not None and watcher.stdout is not None
        watcher.stdout.readline()  # it watches
        senders = [threading.Thread(target=send) for _ in range(at_once if parts else 0)]
        begun = time.monotonic()
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        took = time.monotonic() - begun
        time.sleep(max(2 - took, 0.5))
        watcher.stdin.close()
        return float(watcher.stdout.readline()), took, said


def watch(url: str) -> None:
    """Ask for ``/health/live`` a hundred times a second until the input ends; print the longest."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    longest = 0.0
    with httpx.Client(base_url=url, timeout=600) as http:
        http.get("/health/live").raise_for_status()
        print("watching", flush=True)
        while not over.is_set():
            asked = time.monotonic()
            http.get("/health/live").raise_for_status()
            longest = max(longest, time.monotonic() - asked)
            time.sleep(0.01)
    print(longest, flush=True)


def measure(options: argparse.Namespace) -> list[str]:
    """The lines of the page."""
    rows = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        served(options.models, "--log-level", "error") as (url, _),
    ):
        asked = (case for case in cases() if options.only in case[0])
        for number, (name, made) in enumerate(asked):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            say(name)
            parts = made(folder)
            size = sum(len(content) for _, (_, content) in parts) / 2**20
            wait, took, said = longest_wait(url, parts, options.at_once)
            answers = ", ".join(sorted(said)) or "–"
            rows.append(f"| {name} | {size:.1f} | {answers} | {took:.1f} | {1000 * wait:.0f} |")
            say(rows[-1])
    return [
        f"{options.at_once} clients at once; series of {SLICES} slices of {SIZE} × {SIZE}.",
        "",
        "| what is sent | MB | answers | s in all | longest wait for `/health/live`, ms |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"{machine()[:-1]}; {os.cpu_count()} cores.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=HERE.parent / "examples" / "bundles")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds whose name has it")
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    parser.add_argument("--watch", metavar="URL", help="ask for /health/live there, for the others")
    options = parser.parse_args()
    if options.watch:
        watch(options.watch)
        return
    lines = measure(options)
    print("\n".join(lines))
    if options.write and not options.only:
        keep(lines, PAGE, "stalls")


if __name__ == "__main__":
    main()
