"""A scripted peer on 127.0.0.1, studies on disk, and both clients behind one face."""

from __future__ import annotations

import asyncio
import copy
import email.policy
import gzip
import io
import json
import os
import sys
import textwrap
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import brainmvp_clients
from brainmvp_clients import AsyncClient, Client
from brainmvp_clients.cli import run
from ports import free_port

SOURCE = str(Path(brainmvp_clients.__file__).parents[1])

MASK = gzip.compress(b"\x01\x02\x03" * 1000, mtime=0)

MODEL: dict[str, Any] = {
    "name": "tumour",
    "version": "2",
    "versions": ["1", "2"],
    "title": "Tumour",
    "kind": "segmentation",
    "demo": True,
    "channels": [
        {"modality": "t1", "required": True, "template": None},
        {"modality": "flair", "required": False, "template": "flair"},
    ],
    "outputs": [{"name": "core", "title": "Core", "colour": "#ff0000", "value": 1}],
    "fill": "center",
    "intended_use": "Research only.",
    "digest": "sha256:" + "0" * 64,
    "card": None,
    "added_by_a_newer_server": 1,
}

SIZE: dict[str, Any] = {
    "plane": "axial",
    "diameter_mm": 31.4,
    "across_mm": 22.7,
    "product_mm2": 712.78,
    "diameter_3d_mm": 35.1,
    "diameter_ends_mm": [[0, 0, 0], [31.4, 0, 0]],
    "across_ends_mm": [[9, -10, 0], [9, 12.7, 0]],
}

SUMMARY: dict[str, Any] = {
    "model": "tumour",
    "version": "2",
    "kind": "segmentation",
    "demo": True,
    "bundle": "sha256:" + "0" * 64,
    "engine": {"name": "openvino", "device": "CPU", "precision": "fp32"},
    "real": [{"modality": "t1", "digest": "sha256:1", "shape": [4, 5, 6], "spacing_mm": [1, 1, 2]}],
    "filled": [{"modality": "flair", "policy": "center", "template": "flair"}],
    "structures": [
        {
            "name": "core",
            "title": "Tumour core",
            "value": 1,
            "colour": "#ff0000",
            "volume_ml": 12.345,
            "voxels": 12345,
            "components": 3,
            "bounding_box_mm": [[0, 0, 0], [4, 5, 12]],
            "centroid_mm": [2, 2.5, 6],
            "size": SIZE,
            "side": "left",
            "to_surface_mm": 4.25,
            "parts": [
                {
                    "number": number,
                    "voxels": voxels,
                    "volume_ml": voxels / 1000,
                    "centroid_mm": [-20, 2.5, 6],
                    "size": SIZE,
                    "side": "left",
                    "to_surface_mm": 4.25,
                }
                for number, voxels in ((1, 12000), (2, 300))
            ],
        }
    ],
    "scores": [],
    "expected_quality": [{"output": "core", "metric": "dice", "value": 0.83, "studies": 40}],
    "warnings": ["the field of view is small"],
    "windows": 8,
    "seconds": {"read": 0.1, "infer": 2.5},
    "intended_use": "Research only.",
    "added_by_a_newer_server": 1,
}


def pack(members: dict[str, bytes]) -> bytes:
    """A zip of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return file.getvalue()


@dataclass(frozen=True)
class Reply:
    """What the peer answers. ``length`` is what it claims: None the truth, -1 nothing."""

    status: int = 200
    kind: str = "application/json"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    read_body: bool = True


@dataclass(frozen=True)
class Request:
    """What arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    length: int

    def parts(self) -> dict[str, tuple[str | None, str, bytes]]:
        """The multipart body: file name, content type and bytes by the part's name."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(EmailMessage, policy=email.policy.HTTP).parsebytes(head + self.body)
        assert message.is_multipart()
        assert not message.defects
        found = {}
        for part in message.iter_parts():
            assert isinstance(part, EmailMessage)
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            assert isinstance(name, str)
            assert isinstance(content, bytes)
            found[name] = (part.get_filename(), part.get_content_type(), content)
        return found


class Peer:
    """Answers by script and remembers what it was asked."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.requests: list[Request] = []
        self.keep_bodies = True
        self.url = ""

    def says(self, path: str, reply: Reply) -> None:
        """Script the answer for a path, or for the path of a prediction by its Accept."""
        self.replies[path] = reply

    def serves_results(self, members: dict[str, bytes] | None = None) -> None:
        """Answer predictions well in all forms."""
        summary = json.dumps(SUMMARY).encode()
        whole = {
            "mask.nii.gz": MASK,
            "summary.json": summary,
            "preview.png": b"\x89PNG",
            "report.html": b"<!doctype html>",
            "probabilities/core.nii.gz": MASK,
        }
        self.says("application/json", Reply(body=summary))
        self.says("application/gzip", Reply(kind="application/gzip", body=MASK))
        body = pack(whole if members is None else members)
        self.says("application/zip", Reply(kind="application/zip", body=body))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Handle one request."""
        url = urlsplit(handler.path)
        accept = handler.headers.get("Accept", "")
        reply = self.replies.get(url.path) or self.replies.get(accept) or Reply(404)
        length = int(handler.headers.get("Content-Length", 0))
        body = bytearray()
        left = length if reply.read_body else 0
        while left and (chunk := handler.rfile.read(min(left, 1 << 16))):
            left -= len(chunk)
            if self.keep_bodies:
                body += chunk
        self.requests.append(
            Request(
                handler.command,
                url.path,
                parse_qs(url.query),
                {name.lower(): value for name, value in handler.headers.items()},
                bytes(body),
                length,
            )
        )
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if reply.kind:
            handler.send_header("Content-Type", reply.kind)
        if reply.length != -1:
            handler.send_header("Content-Length", str(reply.length or len(reply.body)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(reply.body)
        handler.close_connection = True


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A peer that runs for one test."""
    script = Peer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script.answer(self)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, *_: Any) -> None:
            """A client that hangs up is part of the script."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer is on this machine, whatever proxies its environment names."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def nowhere() -> str:
    """An address where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def study(tmp_path: Path) -> dict[str, Path]:
    """Two files whose names say more than they should, one zipped and one not."""
    folder = tmp_path / "DOE^JANE"
    folder.mkdir()
    files = {"t1": folder / "doe_jane_1970.nii.gz", "flair": folder / "jane.nii"}
    files["t1"].write_bytes(gzip.compress(b"\r\n--t1 voxels\r\n" * 50_000, 0))
    files["flair"].write_bytes(b"flair voxels")
    return files


Caller = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    """``call(server, verb, *args, **kwargs)`` on either client; ``client=`` holds its options."""

    def blocking(server: str, verb: str, *args: Any, client: Any = None, **kwargs: Any) -> Any:
        with Client(server, **(client or {})) as opened:
            return getattr(opened, verb)(*args, **kwargs)

    def awaiting(server: str, verb: str, *args: Any, client: Any = None, **kwargs: Any) -> Any:
        async def main() -> Any:
            async with AsyncClient(server, **(client or {})) as opened:
                return await getattr(opened, verb)(*args, **kwargs)

        return asyncio.run(main())

    return blocking if request.param == "sync" else awaiting


@pytest.fixture
def reply() -> type[Reply]:
    """For scripting answers."""
    return Reply


@pytest.fixture
def summary() -> dict[str, Any]:
    """A summary as the server sends it."""
    return copy.deepcopy(SUMMARY)


@pytest.fixture
def model() -> dict[str, Any]:
    """A model as the server lists it."""
    return copy.deepcopy(MODEL)


@pytest.fixture
def mask() -> bytes:
    """The mask that the peer sends."""
    return MASK


PLUGIN = """
import json, os, sys, time
from pathlib import Path

class DomainError(Exception):
    def __init__(self, problem, *, remedy, subject=""):
        super().__init__(problem, remedy, subject)
        self.problem, self.remedy, self.subject = problem, remedy, subject

def predict(
    bundle, study, out, *, fill, resample, form, prepare, space, brain, not_determinable,
    profile, probabilities, engine, cpu_precision, progress,
):
    mode = bundle.name
    (out / "mask.nii.gz").write_bytes(b"mask")
    if mode == "refuses":
        raise DomainError("is no volume", remedy="Give a volume", subject="t1")
    if mode == "breaks":
        raise RuntimeError("secret detail")
    if mode == "lacks":
        import surely_not_installed
    if mode == "hangs":
        (out.parent / "hanging").touch()
        time.sleep(300)
    if mode == "interrupted":
        raise KeyboardInterrupt
    progress("windows", 1, 2)
    summary = json.loads(Path(os.environ["SUMMARY"]).read_text())
    summary["warnings"] = [
        f"{bundle} {fill} {resample} {form} {prepare} {space} {brain} {probabilities} {engine} "
        f"{cpu_precision} {not_determinable} {profile} {sorted(study)}"
    ]
    text = json.dumps(summary)
    (out / "summary.json").write_text(text)
    return text

def models(folder):
    refused = [{"name": "old/1", "problem": "lacks model.onnx", "remedy": "Copy it again"}]
    return json.dumps({"models": json.loads(os.environ["MODELS"]), "refused": refused})

def serve(port: int = 8000) -> None:
    '''Serve bundles.'''
    print(f"serving on {port}")

def late() -> None:
    '''Needs something at run time.'''
    import surely_not_installed
"""

ENTRY_POINTS = """
[brainmvp.local]
predict = brainmvp_testing_plugin:predict
models = brainmvp_testing_plugin:models

[brainmvp.commands]
serve = brainmvp_testing_plugin:serve
export = brainmvp_testing_broken:export
late = brainmvp_testing_plugin:late
"""


@pytest.fixture
def plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summary: Any, model: Any
) -> dict[str, str]:
    """An installed distribution with commands, one of which lacks its packages."""
    site = tmp_path / "site"
    info = site / "brainmvp_testing-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brainmvp-testing\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "brainmvp_testing_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (site / "brainmvp_testing_broken.py").write_text("import surely_not_installed\n")
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    settings = {"SUMMARY": str(tmp_path / "summary.json"), "MODELS": json.dumps([model])}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "brainmvp_testing_plugin", raising=False)
    return {**os.environ, **settings, "PYTHONPATH": os.pathsep.join((str(site), SOURCE))}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that do not wrap, and no debugging."""
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delenv("BRAINMVP_DEBUG", raising=False)


Brainmvp = Callable[..., tuple[int, str, str]]


@pytest.fixture
def brainmvp(capsys: pytest.CaptureFixture[str]) -> Brainmvp:
    """Run one command line: exit code, stdout, stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command
