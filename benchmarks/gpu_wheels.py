"""The folder of wheels that ``gpu.py`` takes along: small, and enough for a NIfTI study.

Needs nothing but Python and pip; and pip only to pack.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_BYTES = 30_000_000
NEEDED = (
    "connected-components-3d", "dbos", "fastapi", "httpx", "isal", "nibabel", "pillow",
    "prometheus-client", "pydantic", "pydicom", "pyjwt", "pytest", "python-multipart", "pyyaml",
    "rich", "typer", "uvicorn",
)  # fmt: skip
LEFT_OUT = frozenset({"numpy", "jinja2", "markupsafe", "fsspec", "typing_extensions"})
"""They are there, with PyTorch and ONNX."""
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
PURE = "sqlalchemy"
"""Its wheel without machine code is half as large."""
_OURS = ("models", "server", "export", "clients", "pyproject.toml", "README.md", "LICENSE")
_NOT_NEEDED = re.compile(
    r"(^|/)(tests?|test_files)/|^brainmvp_server/preparation/bundles/|(^PIL/_|/lib)avif"
)
"""Other projects' tests, the networks that find brains, and a format of pictures."""


def pack(folder: Path, python: str) -> int:
    """Download and build the wheels for CPython ``python``, such as 3.12; their bytes.

    Raises:
        SystemExit: they are more than they may be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        fetched, source = Path(scratch) / "fetched", Path(scratch) / "source"
        constraints = Path(scratch) / "versions.txt"
        constraints.write_text(_versions(), encoding="utf-8")
        platforms = [f"--platform={name}" for name in PLATFORMS]
        _download(fetched, python, constraints, [*platforms, *NEEDED])
        for wheel in fetched.glob(f"{PURE}-*"):
            wheel.unlink()
        _download(fetched, python, constraints, ["--platform=any", "--no-deps", PURE])
        source.mkdir()
        for name in _OURS:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
        build = ("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={fetched}")
        _pip(*build, str(source))
        for wheel in sorted(fetched.glob("*.whl")):
            if wheel.name.partition("-")[0].lower() not in LEFT_OUT:
                _lean(wheel, folder / wheel.name)
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    if size > MOST_BYTES:
        raise SystemExit(f"{size} bytes of wheels, where {MOST_BYTES} are allowed")
    return size


def unpack(folder: Path, site: Path) -> None:
    """Lay the wheels' contents where Python finds them, with ``site`` on its path."""
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)


def _versions() -> str:
    """The versions of the image with PyTorch, as constraints: its lock file without digests."""
    text = (ROOT / "locks" / "gpu-torch.txt").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^([a-z0-9._-]+==[^\\]*)", text, re.MULTILINE))


def _download(folder: Path, python: str, constraints: Path, what: list[str]) -> None:
    fixed = (f"--dest={folder}", f"--python-version={python}", f"--constraint={constraints}")
    _pip("download", "--only-binary=:all:", *fixed, *what)


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


def _lean(wheel: Path, target: Path) -> None:
    """The wheel without what is not needed; its record still lists it, so pip would complain."""
    with (
        zipfile.ZipFile(wheel) as whole,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as lean,
    ):
        for entry in whole.infolist():
            if not _NOT_NEEDED.search(entry.filename):
                lean.writestr(entry.filename, whole.read(entry))
