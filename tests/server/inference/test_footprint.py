"""The estimate of a study's memory, against what a run really takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import Outline
from brainmvp_server.inference.footprint import study_bytes

# A process of its own: only the kernel knows the peak, and it never falls.
RUN = """
import sys, tempfile
from pathlib import Path
import nibabel as nib, numpy as np
from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_server.inference.engines import EngineInfo
from brainmvp_server.inference.checked_study import check_study
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.worker import Worker

class Copying:
    info = EngineInfo("copying", "CPU", "fp32")
    def infer(self, windows): return windows[:, :3]
    def close(self): pass

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10

def study(shape, spacing):
    folder = Path(tempfile.mkdtemp(dir=sys.argv[2]))
    voxels = np.zeros(shape, np.int16)
    inner = voxels[1:-1, 1:-1, 1:-1]
    inner[...] = np.random.default_rng(0).integers(1, 999, inner.shape)
    files = {m: folder / f"{m.value}.nii" for m in (Modality.T1, Modality.T2)}
    for path in files.values():
        nib.save(nib.Nifti1Image(voxels, np.diag((spacing,) * 3 + (1,))), path)
    return files

bundle = Bundle.open(Path(sys.argv[1]))
predictor = Predictor(bundle, Worker(NetworkCache(lambda _: Copying())))
predictor.predict(study((96, 96, 96), 1.0), fill="zeros")
files = study((200, 180, 100), float(sys.argv[3]))
before = peak()
predictor.predict(files, fill="zeros")
print((peak() - before) / check_study(files, bundle.task, PredictOptions("zeros")).memory)
"""


@pytest.mark.parametrize("spacing", [1.0, 1.4])
def test_a_run_takes_no_more_than_was_estimated_and_the_estimate_is_not_idle(
    tiny_bundle: Bundle, tmp_path: Path, spacing: float
) -> None:
    command = [sys.executable, "-c", RUN, str(tiny_bundle.root), str(tmp_path), str(spacing)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.3 < float(done.stdout) <= 1.1


def test_the_estimate_grows_with_voxels_modalities_and_what_is_asked_for(
    tiny_bundle: Bundle,
) -> None:
    def outline(n: int, spacing: float = 1.0) -> Outline:
        return Outline(Grid((n, n, n), np.diag((spacing, spacing, spacing, 1.0))), 2)

    task = tiny_bundle.task
    small = study_bytes([outline(100)], task)
    assert small < study_bytes([outline(120)], task)
    assert small < study_bytes([outline(100)] * 2, task)
    assert small < study_bytes([outline(100)], task, probabilities=True)
    assert small < study_bytes([outline(100, 2.0)], task)
