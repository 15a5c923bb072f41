"""Our pipeline on one study, measured as ``published.py`` measures the published one.

python benchmarks/ours.py STUDY OUT BUNDLE [--no-network | --bfloat16] [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from memory import peak_mb
from numpy.typing import NDArray

from brainmvp_models.bundle import Bundle
from brainmvp_server.imaging.nifti import compress
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.engines import Engine, EngineInfo, EngineOptions, load_engine
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.worker import Worker
from brainmvp_server.results.files import mask_nifti

MODALITIES = ("t1", "t1c", "t2", "flair")


class Copying:
    """A stand-in for the network: its first three channels."""

    info = EngineInfo("copying", "CPU", "fp32")

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return windows[:, :3]

    def close(self) -> None:
        """Nothing to free."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--no-network", action="store_true")
    parser.add_argument("--bfloat16", action="store_true", help="proved or not")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    bundle, stand_in = Bundle.open(options.bundle), Copying()

    def load(wanted: Bundle) -> Engine:
        if options.no_network:
            return stand_in
        return load_engine(wanted.forms, "openvino", EngineOptions(bfloat16=options.bfloat16))

    networks = NetworkCache(load, engine="openvino", warm_up=not options.no_network)
    with networks.acquire(bundle, CancelToken()):  # loaded, and one window behind it
        predictor = Predictor(bundle, Worker(networks))
    files = {name: options.study / f"{name}.nii.gz" for name in MODALITIES}
    seconds, cpu_seconds = [], []
    stages: dict[str, float] = {}
    for _ in range(options.repeat):
        start, cpu_start = time.perf_counter(), time.process_time()
        result = predictor.predict(files)
        (options.out / "mask.nii.gz").write_bytes(compress(mask_nifti(result)))
        taken = time.perf_counter() - start
        stages = dict(result.seconds)
        # The published pipeline measures nothing in its mask, so ours is not counted.
        seconds.append(taken - stages["measure"])
        cpu_seconds.append(time.process_time() - cpu_start)
    report = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb()}
    print(json.dumps({**report, "stages": stages}))


if __name__ == "__main__":
    main()
