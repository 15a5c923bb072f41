"""The package that others build on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import brainmvp

NAMES = ["AsyncClient", "BrainMVPError", "Bundle", "Client", "Predictor", "Result", "load_task"]


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_public_names_do_not_change_by_accident() -> None:
    assert brainmvp.__all__ == NAMES
    assert set(NAMES) <= set(dir(brainmvp))
    assert all(getattr(brainmvp, name).__name__ == name for name in NAMES)


def test_an_import_alone_loads_none_of_the_libraries_below() -> None:
    heavy = "{'numpy', 'httpx', 'pydantic', 'nibabel', 'torch'}"
    assert python(f"import sys, brainmvp; print({heavy} & set(sys.modules))") == "set()"


def test_no_public_name_loads_torch() -> None:
    names = ", ".join(f"brainmvp.{name}" for name in NAMES)
    assert python(f"import sys, brainmvp; {names}; print('torch' in sys.modules)") == "False"


def test_a_client_needs_no_numpy() -> None:
    assert python("import sys, brainmvp; brainmvp.Client; print('numpy' in sys.modules)") == "False"


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    code = """
import sys, brainmvp
sys.modules['numpy'] = None
try:
    brainmvp.Predictor
except ImportError as error:
    print(error)
"""
    assert "pip install 'brainmvp[server,cpu]'" in python(code)


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'predict'"):
        _ = brainmvp.predict  # type: ignore[attr-defined]


def test_docs_tell_every_public_name() -> None:
    page = Path(__file__).parents[1] / "docs" / "library.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in text] == []
