"""A server that answers as BrainMVP Server does and computes nothing, to measure the clients.

    python benchmarks/cluster_stub.py --places 16 --rate 12 --seed 1

It prints its address. A study waits for one of ``places``, as for a GPU's, and holds it for a time
drawn from a log-normal law with the median and the 95th percentile of a measured service, all times
divided by one number so that the places together do ``rate`` studies a second. A study whose file
says ``refused`` is refused at once; 1 % of requests, at random, are told that the service is busy.
``GET /figures`` is what it has done.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import json
import math
import random
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

MEDIAN_S, P95_S = 27.2, 43.6
"""Seconds that a study takes in a full service: docs/performance.md, "Many at once"."""
SIGMA = math.log(P95_S / MEDIAN_S) / 1.6449
MEAN_S = MEDIAN_S * math.exp(SIGMA**2 / 2)
BUSY = 0.01
REFUSED = b"refused"
DIGEST = "sha256:" + "0" * 64

MODEL = {
    "name": "stub", "version": "1", "versions": ["1"], "title": "Stub", "kind": "segmentation",
    "demo": True, "channels": [{"modality": "t1", "required": True, "template": None}],
    "outputs": [{"name": "core", "title": "Core", "colour": "#ff0000", "value": 1}],
    "fill": "center", "intended_use": "None.", "digest": DIGEST, "card": None,
}  # fmt: skip
SUMMARY = {
    "model": "stub", "version": "1", "kind": "segmentation", "demo": True, "bundle": DIGEST,
    "engine": {"name": "stub", "device": "CPU", "precision": "fp32"},
    "real": [{"modality": "t1", "digest": "sha256:1", "shape": [1, 1, 1], "spacing_mm": [1, 1, 1]}],
    "filled": [],
    "structures": [{
        "name": "core", "title": "Core", "value": 1, "colour": "#ff0000", "volume_ml": 12.345,
        "voxels": 12345, "components": 1, "bounding_box_mm": None, "centroid_mm": None,
    }],
    "scores": [], "expected_quality": [], "warnings": [], "windows": 8, "seconds": {},
    "intended_use": "None.",
}  # fmt: skip


@dataclass
class Figures:
    """What was answered, and for how long places were held, in seconds."""

    done: int = 0
    refused: int = 0
    busy: int = 0
    held_s: float = 0.0


class Stub:
    """The service's places and its law."""

    def __init__(self, places: int, rate: float, seed: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._speed = rate * MEAN_S / places
        self._random = random.Random(seed)
        self.figures = Figures()
        self._result = _result()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for as long as the client keeps it."""
        try:
            while request := await _request(reader):
                status, kind, body = await self._answer(*request)
                head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
                writer.write(f"{head}\r\n\r\n".encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that was killed
        finally:
            writer.close()

    async def _answer(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        if path == "/figures":
            return 200, "application/json", json.dumps(asdict(self.figures)).encode()
        if not path.endswith("/predict"):
            return 200, "application/json", json.dumps(MODEL).encode()
        if self._random.random() < BUSY:
            self.figures.busy += 1
            return _problem(503, "busy for the moment")
        if REFUSED in body:
            self.figures.refused += 1
            return _problem(422, "has four dimensions")
        async with self._places:
            with self._held():
                await asyncio.sleep(self._seconds())
        self.figures.done += 1
        return 200, "application/zip", self._result

    def _seconds(self) -> float:
        return self._random.lognormvariate(math.log(MEDIAN_S), SIGMA) / self._speed

    @contextmanager
    def _held(self) -> Iterator[None]:
        start = asyncio.get_running_loop().time()
        yield
        self.figures.held_s += asyncio.get_running_loop().time() - start


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes] | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    return first.split(" ")[1].partition("?")[0], body


def _problem(status: int, detail: str) -> tuple[int, str, bytes]:
    return (
        status,
        "application/problem+json",
        json.dumps({"status": status, "detail": detail}).encode(),
    )


def _result() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("mask.nii.gz", gzip.compress(bytes(20_000)))
        zipped.writestr("summary.json", json.dumps(SUMMARY))
    return file.getvalue()


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stub = Stub(options.places, options.rate, options.seed)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
