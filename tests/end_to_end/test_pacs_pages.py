"""The commands of the pages for integrators, typed as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_clients.cli import run
from dicom_studies import write_study
from orthanc import KIT, Orthanc, kit, orthanc
from ports import free_port

ROOT = Path(__file__).parents[2]
FOUR = ("t1", "t1c", "t2", "flair")
NOT_TYPED = re.compile(r"apt-get|python3 -m venv|\S*pip |PATH=|cp |systemctl|brainmvp serve|MODEL ")
"""The machine's own, what the fixtures started, and a line that only shows where things go."""


def blocks(page: Path, language: str) -> list[str]:
    """What a page has in code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Every command of a page that a reader types, continued lines as one."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    typed = [re.sub(r"(^|\s+)#.*$", "", line) for line in lines]
    return [re.sub(" +", " ", line) for line in typed if line and not NOT_TYPED.search(line)]


@dataclass(frozen=True)
class Machine:
    """Where the commands are typed, and what they find there."""

    folder: Path
    server: str
    pacs: Orthanc
    listener: int

    def command(self, text: str) -> str:
        """A page's command with this machine's model, addresses and ports."""
        text = re.sub(
            r"brainmvp (score(?! merge)|dicom-listen)",
            rf"brainmvp \1 --server {self.server}",
            text,
        )
        for old, new in (
            ("http://127.0.0.1:8000", self.server),
            ("127.0.0.1:8042", f"127.0.0.1:{self.pacs.http}"),
            ("127.0.0.1:4242", f"127.0.0.1:{self.pacs.dicom}"),
            ("--retrieve move", f"--retrieve move --scp-port {self.listener}"),
            ("/var/lib/brainmvp", str(self.folder)),
            ("demo-glioma", "tiny"),
            ("--quiet-for 60", f"--quiet-for 1 --port {self.listener}"),
        ):
            text = text.replace(old, new)
        return text

    def start(self, text: str) -> subprocess.Popen[str]:
        """Type a command."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "no_proxy": "127.0.0.1"}
        return subprocess.Popen(
            ["sh", "-c", f"exec {self.command(text)}"], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip


def _lay_out(folder: Path) -> None:
    """The files that the pages speak of."""
    study = write_study(folder / "studies" / "one", contrasts=(*FOUR, "localizer"), part=True,
                        same_grid=True)  # fmt: skip
    (folder / "0018").mkdir()
    (folder / "0018" / "dicom").symlink_to(study.folder)
    bids = dict(zip(FOUR, ("T1w", "ce-gd_T1w", "T2w", "FLAIR"), strict=True))
    for contrast in FOUR:
        for path in (
            folder / "0017" / f"{contrast}.nii.gz",
            folder / "heads" / "one" / f"{contrast}.nii.gz",
            folder / "dataset" / "sub-01" / "anat" / f"sub-01_{bids[contrast]}.nii.gz",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(study.series[contrast].image, path)
    t1 = study.series["t1"].image
    brain = nib.Nifti1Image((np.asarray(t1.dataobj) > 0).astype(np.uint8), t1.affine)
    nib.save(brain, folder / "heads" / "one" / "t1_brain.nii.gz")
    nib.save(brain, folder / "0017" / "brain.nii.gz")
    nib.save(brain, folder / "dataset" / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz")
    with zipfile.ZipFile(folder / "study.zip", "w") as zipped:
        for path in study.files:
            zipped.write(path, path.name)
    (folder / "list.csv").write_text(blocks(ROOT / "docs" / "scoring.md", "csv")[0])
    (folder / "secrets").write_text("BRAINMVP_PSEUDONYM_KEY=0123456789abcdef\n")
    (folder / "secrets").chmod(0o600)


@pytest.fixture(scope="module")
def machine(
    program: Callable[[str], Path], tiny_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    folder, port = tmp_path_factory.mktemp("machine"), free_port()
    _lay_out(folder)
    with orthanc(program, folder / "orthanc", **kit(port), AuthenticationEnabled=False) as pacs:
        yield Machine(folder, tiny_server, pacs, port)


def test_the_kit_takes_a_study_to_a_listener_and_its_results_back(machine: Machine) -> None:
    listen, send = commands(KIT / "README.md")
    with machine.start(listen) as listening:
        try:
            assert listening.stdout is not None
            assert listening.stdout.readline().startswith("listening as BRAINMVP")
            done = machine.start(send)
            assert "Success" in done.communicate()[0] and done.returncode == 0
            end = time.monotonic() + 120
            while not (machine.pacs.instances("SEG") and machine.pacs.instances("SR")):
                assert time.monotonic() < end and listening.poll() is None
                time.sleep(0.2)
        finally:
            listening.terminate()


@pytest.mark.parametrize("page", ["dicom.md", "scoring.md"])
def test_every_command_of_a_page_does_what_it_says(machine: Machine, page: str) -> None:
    if not machine.pacs.instances("MR"):
        with machine.start(commands(KIT / "README.md")[1]) as done:
            done.communicate()
    typed = commands(ROOT / "docs" / page)
    assert len(typed) >= 5
    for text in typed:
        done = machine.start(text)
        said = done.communicate(timeout=300)[0]
        assert done.returncode == 0, f"{text}\n{said}"
        assert '"status"' not in said and "No study" not in said, f"{text}\n{said}"


@pytest.mark.parametrize("page", ["dicom.md", "scoring.md"])
def test_what_cron_and_systemd_run_is_a_command(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "".join(blocks(ROOT / "docs" / page, "(?:cron|ini)")).replace("\\\n", " ")
    found = re.findall(r"/opt/brainmvp/bin/brainmvp ([^'\n]*)", text)
    assert len(found) == text.count("brainmvp score") + text.count("brainmvp dicom-listen") >= 1
    for words in found:
        words = re.sub(r"\${1,2}\(date -d yesterday \+.{1,2}F\)", "2026-01-01", words)
        words = re.sub(r"/var/lib/brainmvp/", "", words)
        arguments = [*words.split(), "--server", "http://127.0.0.1:9"]
        # Good words, for nobody serves there.
        assert run(arguments) == 2
        assert "cannot be reached" in capsys.readouterr().err
