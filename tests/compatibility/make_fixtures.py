"""Writes what this version leaves behind and answers, for later versions to be held against.

::

    python tests/compatibility/make_fixtures.py v1

writes ``tests/compatibility/fixtures/v1``. It asks this version through the command line and HTTP
alone. What it wrote is never written again: a folder that exists is refused.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import signal
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import onnx
from onnx import helper, numpy_helper
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from command_line import brainmvp  # noqa: E402
from dicom_studies import Study, write_study  # noqa: E402
from kept_fixtures import MODEL, at_fixed_times, process, until  # noqa: E402
from public_surface import (  # noqa: E402
    commands,
    error_codes,
    metric_names,
    settings_in_force,
)
from serving import serving  # noqa: E402

CENTRES = {"a": (18, 18, 18), "b": (20, 18, 17), "c": (16, 19, 18)}
"""Studies by name, and where their middle is, in voxels of 1 mm."""
EDGE = 36
WORKER = ("--executor", "worker")
"""Else the machine's name is written down."""


def main(version: str) -> None:
    """Write the fixtures of a version, whole or not at all."""
    target = HERE / "fixtures" / version
    if target.exists():
        raise SystemExit(f"{target} exists: what a version left behind does not change")
    with tempfile.TemporaryDirectory() as scratch:
        made, work = Path(scratch) / "made", Path(scratch) / "work"
        (made / "api").mkdir(parents=True)
        work.mkdir()
        write_bundle(made / "models" / MODEL / "1")
        write_studies(made / "studies")
        write_json(made / "command-line.json", commands())
        write_json(made / "errors.json", error_codes((ROOT / "docs" / "errors.md").read_text()))
        write_settings(made / "settings.toml")
        write_key(made)
        write_served(made, work)
        for database in made.rglob("*.sqlite-shm"):
            database.unlink()  # SQLite makes it anew
        for folder in sorted(made.rglob("*"), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()  # git keeps no empty folders
        shutil.copytree(made, target)


def write_bundle(root: Path) -> None:
    """The demonstration bundle with a small network, small templates and a subset card."""
    shutil.copytree(ROOT / "examples" / "bundles" / "demo-glioma" / "1", root)
    manifest = json.loads((root / "manifest.json").read_text())
    write_network(root / "model.onnx", manifest["task"])
    write_templates(root / "templates.nii.gz", len(manifest["templates"]["modalities"]))
    for entry in manifest["files"]:
        content = (root / entry["path"]).read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        entry |= {"bytes": len(content), "digest": digest}
    manifest["name"] = MODEL
    assert manifest["subset_card"], "the card is part of what is kept"
    (root / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def write_network(path: Path, task: dict[str, Any]) -> None:
    """One convolution of 1 x 1 x 1 for a segmentation's windows, reproducible."""
    channels, outputs = len(task["channels"]), len(task["outputs"]["regions"])
    size = task["window"]["size"]
    weights = {
        "weight": np.full((outputs, channels, 1, 1, 1), 4, np.float32),
        "bias": -np.arange(2, outputs + 2, dtype=np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])],
        MODEL,
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", channels, *size])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", outputs, *size])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def write_templates(path: Path, count: int) -> None:
    """Boxes on the grid of the published templates, as bytes."""
    stack = np.zeros((240, 240, 155, count), np.uint8)
    for number in range(count):
        stack[50:190, 35:205, 15:140, number] = 60 + 20 * number
        stack[80:160, 70:170, 40:110, number] += 40
    affine = np.eye(4)
    affine[:3, 3] = (-119.5, -119.5, -77)
    content = nib.Nifti1Image(stack, affine).to_bytes()
    path.write_bytes(gzip.compress(content, 9, mtime=0))


def write_studies(folder: Path) -> None:
    """A T1 each of nested ellipsoids, drawn, so that their pictures are small files."""
    x, y, z = np.ogrid[:EDGE, :EDGE, :EDGE]
    for name, (i, j, k) in CENTRES.items():
        radius = ((x - i) / 16) ** 2 + ((y - j) / 15) ** 2 + ((z - k) / 14) ** 2
        voxels = ((radius < 1) * 60 + (radius < 0.6) * 60 + (radius < 0.1) * 90).astype(np.uint8)
        (folder / name).mkdir(parents=True)
        content = nib.Nifti1Image(voxels, np.eye(4)).to_bytes()
        (folder / name / "t1.nii.gz").write_bytes(gzip.compress(content, 9, mtime=0))


def write_settings(path: Path) -> None:
    """A settings file that names every setting, with another value than its default."""
    values, _ = settings_in_force("--models", "models")
    lines: list[str] = []
    for group, settings in values.items():
        lines.append(f"[{group}]")
        lines += [f"{name} = {json.dumps(other_than(name, settings))}" for name in settings]
    path.write_text("\n".join(lines) + "\n")


OTHER: dict[str, Any] = {
    "models": "models", "host": "127.0.0.2", "root_path": "/brains", "scratch": "scratch",
    "key_requests": 3, "memory_mb": 4096, "engine": "onnxruntime", "engine_cache": "engines",
    "batch": 2, "networks_mb": 2048, "identification_rules": "rules.yaml",
    "dicom_fallback": "dcm2niix", "role": "api", "jobs_storage": "s3://studies/jobs",
    "jobs_database": "postgresql://db.example.org/jobs", "executor": "worker-1",
    "keys_file": "keys.json", "oidc_issuer": "https://id.example.org",
    "oidc_audience": "brainmvp", "oidc_algorithms": ["ES256", "EdDSA"],
    "oidc_scope_claim": "roles", "oidc_scope_prefix": "brain:",
    "allowed_hosts": ["*.example.org", "brain.example.org"],
    "allowed_origins": ["https://viewer.example.org"], "tls_cert": "cert.pem",
    "tls_key": "key.pem", "tls_key_password": "not a secret", "log_format": "json",
    "log_level": "debug", "otlp_endpoint": "http://collector:4318/v1/traces",
    "least_cover": 0.8,
}  # fmt: skip
"""What is no number, or has a bound beside its default."""


def other_than(name: str, defaults: dict[str, Any]) -> Any:
    """A value that a setting may have, and has not by itself."""
    default = defaults[name]
    if name in OTHER:
        return OTHER[name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return default + 1
    raise SystemExit(f"give a value for the new setting '{name}' in OTHER")


def write_key(made: Path) -> None:
    """A file of API keys, and the key it was made for."""
    words = ("--keys-file", made / "keys.json", "--scope", "predict", "--scope", "admin")
    done = brainmvp("keys", "new", "reading-room", *words)
    assert done.returncode == 0, done.stderr
    (made / "key.txt").write_text(done.stdout)


def write_served(made: Path, work: Path) -> None:
    """What a service and its clients leave behind and answer."""
    study = write_study(work / "dicom", "ge", ("t1",), part=True)
    archive = work / "study.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in study.files:
            zipped.write(path, path.name)
    storage, models = made / "jobs", made / "models"
    kept: dict[str, Any] = {}
    with (
        serving(models, work, "--jobs-storage", storage, *WORKER) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        kept["done"] = post_job(http, made / "studies" / "a" / "t1.nii.gz")
        kept["failed"] = post_job(http, blank(work))
        for state in ("done", "failed"):
            wait_for_job(http, kept[state], state)
        kept["results"] = results_of(http, kept["done"])
        write_answers(http, made / "api", kept, archive, made / "studies" / "a" / "t1.nii.gz")
        write_score(url, made)
        write_spool(url, made, study)
    # A service without a worker: nobody begins what is posted.
    with (
        serving(models, work, "--jobs-storage", storage, "--role", "api", *WORKER) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        kept["cancelled"] = post_job(http, made / "studies" / "c" / "t1.nii.gz")
        assert http.delete(f"/v1/jobs/{kept['cancelled']}").json()["state"] == "cancelled"
        kept["waiting"] = post_job(http, made / "studies" / "b" / "t1.nii.gz")
    write_json(made / "jobs.json", kept)


def blank(work: Path) -> Path:
    """A volume that shows nothing, which no job can use."""
    path = work / "t1.nii"
    nib.save(nib.Nifti1Image(np.zeros((60, 60, 60), np.int16), np.eye(4)), path)
    return path


def post_job(http: httpx.Client, study: Path) -> str:
    """Post a T1 as a job; its id."""
    answer = http.post(
        f"/v1/models/{MODEL}/jobs",
        files={"t1": (study.name, study.read_bytes())},
        params={"fill": "zeros"},
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def wait_for_job(http: httpx.Client, job: str, state: str) -> None:
    """Wait until a job ends, in that state."""

    def over() -> bool:
        now = http.get(f"/v1/jobs/{job}").json()
        assert now["state"] in ("queued", "running", state), now
        return bool(now["state"] == state)

    until(over)


def results_of(http: httpx.Client, job: str) -> dict[str, str]:
    """The files of a job's result with their SHA-256."""
    names = http.get(f"/v1/jobs/{job}").json()["results"]
    contents = {name: http.get(f"/v1/jobs/{job}/results/{name}").content for name in names}
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def write_answers(
    http: httpx.Client, api: Path, jobs: dict[str, Any], archive: Path, study: Path
) -> None:
    """One answer of each kind, as it came."""

    def posted(path: str, **files: Path) -> httpx.Response:
        return http.post(path, files={n: (p.name, p.read_bytes()) for n, p in files.items()})

    answers = {
        "openapi": http.get("/openapi.json"),
        "models": http.get("/v1/models"),
        "model": http.get(f"/v1/models/{MODEL}"),
        "summary": posted(f"/v1/models/{MODEL}/predict?fill=center", t1=study),
        "identify": posted("/v1/studies/identify", files=archive),
        "job-done": http.get(f"/v1/jobs/{jobs['done']}"),
        "job-failed": http.get(f"/v1/jobs/{jobs['failed']}"),
        "jobs": http.get("/v1/jobs"),
        "problem": posted(f"/v1/models/{MODEL}/predict", ct=study),
    }
    for name, answer in answers.items():
        assert answer.status_code == (422 if name == "problem" else 200), answer.text
        (api / f"{name}.json").write_text(json.dumps(answer.json(), separators=(",", ":")) + "\n")
    write_json(api / "metrics.json", metric_names(http.get("/metrics").text))


def write_score(url: str, made: Path) -> None:
    """The output folder of a run that was stopped after two of three studies."""
    at_fixed_times(made / "studies")
    out = made / "score"
    words = ("--folder", made / "studies", "--fill", "zeros", "--rate", 20, "--concurrency", 1)
    with process("score", MODEL, "--out", out, "--server", url, *words) as run:
        table = out / "results.jsonl"
        until(lambda: table.is_file() and table.read_text().count("\n") == 2)
        run.send_signal(signal.SIGTERM)
        run.wait(60)
    assert table.read_text().count("\n") == 2
    for name in ("report.html", "preview.png"):  # large, and never read again
        for path in (out / "studies").rglob(name):
            path.unlink()


def write_spool(url: str, made: Path, study: Study) -> None:
    """The folder of a listener that has a study, and is stopped before the study is quiet."""
    words = ("--anyone", "--port", 0, "--quiet-for", 3600, "--out", made / "listen")
    with process("dicom-listen", MODEL, "--server", url, "--fill", "zeros", *words) as listener:
        assert listener.stdout is not None
        port = int(listener.stdout.readline().rsplit(":", 1)[1])
        entity = AE(ae_title="PACS")
        entity.add_requested_context(MRImageStorage)
        association = entity.associate("127.0.0.1", port, ae_title="BRAINMVP")
        for path in study.files:
            assert association.send_c_store(path).Status == 0
        association.release()
        listener.send_signal(signal.SIGTERM)
        listener.wait(60)
    (made / "listen.json").write_text(json.dumps({"study": study.uid}) + "\n")


def write_json(path: Path, value: object) -> None:
    """A file that people can compare line by line."""
    path.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
