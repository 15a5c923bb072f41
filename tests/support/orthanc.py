"""A real Orthanc for tests: Debian's packages, on free ports of 127.0.0.1."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ports import free_port

KIT = Path(__file__).parents[2] / "clients" / "orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "brainmvp", "hands off"
_SECONDS = 60


@dataclass(frozen=True)
class Orthanc:
    """One that runs."""

    http: int
    dicom: int
    title: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Its own REST interface."""
        return f"http://127.0.0.1:{self.http}"

    @property
    def dicomweb(self) -> str:
        """Its DICOMweb service."""
        return f"{self.url}/dicom-web"

    @property
    def peer(self) -> str:
        """Its application entity, ``TITLE@HOST:PORT``."""
        return f"{self.title}@127.0.0.1:{self.dicom}"

    def ask(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """One call of its REST interface."""
        url = f"{self.url}{path}"
        answer = httpx.request(
            method, url, auth=(USER, PASSWORD), timeout=60, trust_env=False, **kwargs
        )
        answer.raise_for_status()
        return answer

    def add(self, files: Iterable[Path]) -> None:
        """Store files."""
        with httpx.Client(auth=(USER, PASSWORD), timeout=60, trust_env=False) as client:
            for path in files:
                url = f"{self.url}/instances"
                client.post(url, content=path.read_bytes()).raise_for_status()

    def instances(self, modality: str = "") -> list[dict[str, Any]]:
        """Main tags and ids of its instances, those of one modality if one is given."""
        query = {"Level": "Series", "Query": {"Modality": modality}, "Expand": True}
        found = []
        for series in self.ask("POST", "/tools/find", json=query).json():
            for instance in series["Instances"]:
                found.append(self.ask("GET", f"/instances/{instance}").json())
        return found

    def file(self, instance: str) -> bytes:
        """An instance's file."""
        return self.ask("GET", f"/instances/{instance}/file").content

    def remove(self, study: str) -> None:
        """Remove a study, by its UID."""
        for found in self.ask("POST", "/tools/lookup", content=study).json():
            self.ask("DELETE", f"/studies/{found['ID']}")

    def clear(self) -> None:
        """Remove everything."""
        for patient in self.ask("GET", "/patients").json():
            self.ask("DELETE", f"/patients/{patient}")


@contextmanager
def orthanc(program: Callable[[str], Path], folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """Starts one for the time of the block; ``settings`` are added to its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    http, dicom, title = free_port(), free_port(), settings.pop("DicomAet", "ORTHANC")
    configuration = {
        "Name": "brainmvp tests",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": title,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalitiesInDatabase": False,
        "DicomAlwaysAllowGet": True,
        "StableAge": 1,
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    log = folder / "orthanc.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [program("Orthanc"), folder / "orthanc.json"], stdout=sink, stderr=sink, cwd=folder
        )
    running = Orthanc(http, dicom, title, log, process)
    try:
        _wait(running)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(running: Orthanc) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and running.process.poll() is None:
        try:
            running.ask("GET", "/system")
            return
        except (httpx.TransportError, httpx.HTTPStatusError):
            time.sleep(0.1)
    raise RuntimeError(f"Orthanc did not start:\n{running.log.read_text(errors='replace')}")


def kit(listener: int) -> dict[str, Any]:
    """The settings of ``clients/orthanc``, for a listener at this port."""
    text = re.sub(r"^\s*//.*$", "", (KIT / "orthanc.json").read_text(), flags=re.MULTILINE)
    settings: dict[str, Any] = json.loads(text)
    settings["DicomModalities"]["brainmvp"]["Port"] = listener
    for place in ("StorageDirectory", "IndexDirectory", "Plugins"):
        del settings[place]  # the machine's, not the test's
    return settings | {"LuaScripts": [str(KIT / "brainmvp.lua")], "StableAge": 1}


def modality(title: str, port: int) -> Mapping[str, list[Any]]:
    """An entry of ``DicomModalities``: somebody on this machine."""
    return {title: [title, "127.0.0.1", port]}
