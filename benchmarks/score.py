"""Many studies through ``brainmvp score`` and a real Orthanc, against the server alone.

    python benchmarks/score.py [--studies 500] [--concurrency 4] [--write]

One server with a tiny bundle, one Orthanc full of studies. Half of the studies go straight to the
server as ready-made zips, then all of them through one ``brainmvp score`` (found, fetched, sent,
stored back, confirmed), then the other half straight again, each from as many threads. The ratio is
what scoring costs; memory is that of the scoring process. ``--write`` keeps the figures in
``docs/scoring.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import psutil
from inputs import write_bundle, write_checkpoint
from pydicom import dcmread
from tables import keep

from brainmvp_clients import Client
from brainmvp_clients.pacs.pseudonyms import Pseudonyms

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from dicom_studies import write_study  # noqa: E402
from orthanc import PASSWORD, USER, Orthanc, orthanc  # noqa: E402
from serving import serving  # noqa: E402

PAGE = HERE.parent / "docs" / "scoring.md"


@dataclass(frozen=True)
class Figures:
    """What was measured; memory in MB, a sample a second."""

    studies: int
    concurrency: int
    alone_s: float
    scored_s: float
    memory: tuple[float, ...]

    @property
    def share(self) -> float:
        """Of the server's own throughput, what is left."""
        return self.alone_s / self.scored_s

    @property
    def growth(self) -> float:
        """Median memory of the last fifth over that of the second."""
        fifth = len(self.memory) // 5
        second, last = self.memory[fifth : 2 * fifth], self.memory[-fifth:]
        return sorted(last)[len(last) // 2] / sorted(second)[len(second) // 2] - 1


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="brainmvp-bench-") as name:
        text = shown(measured(Path(name), options.studies, options.concurrency))
    print(text)
    if options.write:
        keep([text], PAGE, "score")


def measured(folder: Path, studies: int, concurrency: int) -> Figures:
    """The figures of one run."""
    write_checkpoint("tiny", folder / "tiny.pt")
    write_bundle(folder / "tiny.pt", folder / "models")
    zips = write_zips(folder, studies)
    half = studies // 2
    with (
        serving(folder / "models", folder / "server") as url,
        orthanc(_program, folder / "orthanc", DicomAlwaysAllowFind=True) as pacs,
    ):
        pacs.add(zips)
        straight(url, zips[: 2 * concurrency], concurrency)
        alone = straight(url, zips[:half], concurrency)
        scored, memory = through(pacs, url, folder / "out", concurrency)
        alone += straight(url, zips[half:], concurrency)
        check(pacs, folder / "out", studies)
    return Figures(studies, concurrency, alone, scored, memory)


def write_zips(folder: Path, studies: int) -> list[Path]:
    """One small study under as many identities; a zip each."""
    study = write_study(folder / "one", "siemens", ("t1",), part=True)
    datasets = [dcmread(path) for path in study.files]
    originals = [(d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID) for d in datasets]
    zips = []
    for number in range(studies):
        other = Pseudonyms(f"study {number}".encode())
        path = folder / f"{number:04d}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as zipped:
            for place, (dataset, uids) in enumerate(zip(datasets, originals, strict=True)):
                dataset.StudyInstanceUID, dataset.SeriesInstanceUID, uid = map(other.uid, uids)
                dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
                dataset.PatientID = f"PATIENT-{number}"
                dataset.save_as(folder / "x.dcm", enforce_file_format=True)
                zipped.write(folder / "x.dcm", f"{place:04d}.dcm")
        zips.append(path)
    return zips


def straight(url: str, zips: list[Path], concurrency: int) -> float:
    """Seconds for the server alone: every answer asked for and read as scoring does."""
    into = zips[0].parent / "straight"
    start = time.monotonic()
    with Client(url) as client, ThreadPoolExecutor(concurrency) as pool:
        list(
            pool.map(
                lambda path: client.results(
                    "benchmark", {"files": path}, into / path.stem, fill="zeros"
                ),
                zips,
            )
        )
    seconds = time.monotonic() - start
    shutil.rmtree(into)
    return seconds


def through(
    pacs: Orthanc, url: str, out: Path, concurrency: int
) -> tuple[float, tuple[float, ...]]:
    """Seconds and memory of ``brainmvp score`` over everything in the PACS."""
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "score", "benchmark", "--server", url,
        "--out", str(out), "--dicomweb", pacs.dicomweb, "--send-dicomweb", pacs.dicomweb,
        "--fill", "zeros", "--concurrency", str(concurrency), "--quiet",
    ]  # fmt: skip
    secrets = {"BRAINMVP_DICOMWEB_USER": USER, "BRAINMVP_DICOMWEB_PASSWORD": PASSWORD}
    start = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, **secrets})
    memory: list[float] = []
    over = threading.Event()

    def watch() -> None:
        seen = psutil.Process(process.pid)
        while not over.wait(1.0) and process.poll() is None:
            memory.append(seen.memory_info().rss / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    code = process.wait()
    seconds = time.monotonic() - start
    over.set()
    thread.join()
    if code:
        raise SystemExit(f"brainmvp score ended with {code}")
    return seconds, tuple(memory)


def check(pacs: Orthanc, out: Path, studies: int) -> None:
    """No study is lost or doubled, on disk, in the table or in the PACS."""
    lines = (out / "results.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = {
        "lines": len(rows),
        "studies": len({row["study"] for row in rows if row["state"] == "done"}),
        "folders": len(list((out / "studies").iterdir())),
        "SEG": len(pacs.instances("SEG")),
        "SR": len(pacs.instances("SR")),
    }
    if set(found.values()) != {studies}:
        raise SystemExit(f"lost or doubled: {found}, not {studies} of each")


def shown(figures: Figures) -> str:
    """The figures as a table."""
    count, seconds = figures.studies, (figures.alone_s, figures.scored_s)
    alone, scored = (60 * count / duration for duration in seconds)
    top = max(figures.memory)
    return "\n".join(
        (
            f"{count} studies of one series, tiny bundle, {figures.concurrency} at once.",
            "",
            "| | studies a minute |",
            "| --- | --- |",
            f"| the server alone | {alone:.0f} |",
            f"| `brainmvp score`, Orthanc to Orthanc | {scored:.0f} |",
            f"| share | {100 * figures.share:.0f} % |",
            "",
            f"Memory of the scoring process: {top:.0f} MB at most, {100 * figures.growth:+.1f} %",
            "from the second fifth of the run to the last. No study lost or doubled.",
            "",
            f"{date.today().isoformat()}, {platform.processor() or platform.machine()}, "
            f"Python {platform.python_version()}.",
        )
    )


def _program(name: str) -> Path:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise SystemExit(f"{name} is not installed: make system")
    return Path(found)


if __name__ == "__main__":
    main()
