"""What stands beside the chart: what is generated, the Dockerfile, the lock files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
import yaml

from brainmvp_models import __version__
from helm_engine import Helm

from .conftest import CHART

ROOT = CHART.parents[1]
CONSTRAINTS = ROOT / "locks" / "dev.txt"
LOCKS = sorted(set((ROOT / "locks").glob("*.txt")) - {CONSTRAINTS})


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The files that helm/generate.py writes, as it would write them now."""
    code = "import json, generate as g; print(json.dumps([g.readme(), g.schema()]))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "helm", check=True, capture_output=True, text=True
    )
    readme, schema = yaml.safe_load(run.stdout)
    return {"README.md": readme, "values.schema.json": schema}


@pytest.mark.parametrize("name", ["README.md", "values.schema.json"])
def test_what_is_generated_is_current(generated: dict[str, str], name: str) -> None:
    assert (CHART / name).read_text(encoding="utf-8") == generated[name], "run: make docs"


def test_every_value_is_described(helm: Helm) -> None:
    rows = re.findall(r"^\| `([\w.]+)`", (CHART / "README.md").read_text("utf-8"), re.MULTILINE)

    def leaves(values: object, path: str = "") -> list[str]:
        if path in rows or not isinstance(values, dict):
            return [path]
        return [
            leaf
            for key, value in values.items()
            for leaf in leaves(value, f"{path}.{key}".strip("."))
        ]

    assert set(leaves(helm.read(CHART)[1])) == set(rows)


def test_the_chart_takes_the_values_that_the_docs_show(helm: Helm) -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(shown) > 5
    for block in shown:
        helm.validate(CHART, yaml.safe_load(block.replace("sha256:…", "sha256:" + "a" * 64)))


def test_the_chart_is_of_this_version(helm: Helm) -> None:
    assert helm.read(CHART)[0]["appVersion"] == __version__


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    run = subprocess.run(
        [hadolint, "--failure-threshold", "style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    parts = re.split(r"^FROM \S+ AS (\S+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("target", ["cpu", "gpu", "export"])
def test_an_image_runs_as_nobody_and_its_process_is_the_first(target: str) -> None:
    stage = stages()[target]
    assert "USER 65532:65532\n" in stage
    assert 'ENTRYPOINT ["brainmvp"]\n' in stage, "exec form, so that SIGTERM reaches the service"
    assert "pip install" not in stage
    assert not re.search(r"\b(gcc|build-essential|-dev)\b", stage)
    if target != "export":
        assert re.search(r"HEALTHCHECK .*\\\n *CMD \[", stage)


def test_every_base_image_can_be_given() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(bases) - set(stages()) == {"${PYTHON_IMAGE}", "${CUDA_IMAGE}"}


@pytest.mark.parametrize("target", ["cpu", "gpu", "export"])
def test_an_image_says_what_it_is_made_of_but_holds_not_what_says_it(target: str) -> None:
    parts = stages()
    assert f"COPY --from={target}-sbom /usr/share/brainmvp /usr/share/brainmvp\n" in parts[target]
    assert "/sbom/" not in parts[target].replace("-sbom /usr/share", "")
    made = parts[f"{target}-sbom"]
    assert f"--lock /locks/{target}.txt" in made and "--out /usr/share/brainmvp" in made
    assert "--require-hashes -r /locks/sbom.txt" in made
    base = "/system" if target == "gpu" else "/"
    assert f"--system {base} " in made, "what the build added to the base is not in the image"


def test_the_tests_versions_are_exact_and_leave_torch_to_the_makefile() -> None:
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    assert len(lines) > 100
    for line in lines:
        assert re.match(r"[a-z0-9._-]+==\S+( ; .+)?$", line), line
        assert not line.startswith(("torch==", "nvidia-", "triton=="))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_locked_package_has_a_digest_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    packages = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert packages
    for package in packages:
        assert re.match(r"[a-z0-9._-]+==\S+ ", package), package
        assert "--hash=sha256:" in package, package
    assert "://" not in text and "--index" not in text


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("cpu", ("server", "cpu", "otel", "pacs", "parquet", "s3")),
        ("gpu", ("server", "gpu", "otel", "pacs", "parquet", "s3")),
        ("gpu-torch", ("server", "gpu-torch", "otel", "pacs", "parquet", "s3")),
        ("export", ("server", "export", "cpu")),
    ],
)
def test_an_image_has_every_package_that_it_needs(lock: str, extras: tuple[str, ...]) -> None:
    """The image installs the lock file and nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    asked = [*project["dependencies"], *(one for extra in extras for one in optional[extra])]
    wanted = {
        re.split(r"[^A-Za-z0-9_-]", one)[0].lower()
        for one in asked
        if not one.startswith("brainmvp[") and "python_version < " not in one
    }
    assert wanted - names_in(lock) == set(), "run: make lock"


def names_in(lock: str) -> set[str]:
    """The packages of a lock file."""
    text = (ROOT / "locks" / f"{lock}.txt").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("lock", "there", "never"),
    [
        ("cpu", ("openvino", "onnxruntime", "dbos"), ("torch", "monai", "tensorrt")),
        (
            "gpu",
            ("onnxruntime-gpu", "tensorrt-cu13", "cuda-bindings", "dbos"),
            ("torch", "monai", "onnxruntime"),
        ),
        ("gpu-torch", ("torch", "dbos"), ("monai", "onnxruntime", "tensorrt-cu13")),
        ("export", ("torch", "monai", "onnx"), ()),
    ],
)
def test_an_image_has_the_runtimes_of_its_engines_and_no_others(
    lock: str, there: tuple[str, ...], never: tuple[str, ...]
) -> None:
    assert set(there) <= names_in(lock)
    assert not set(never) & names_in(lock)
