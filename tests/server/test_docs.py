"""The pages that are written from the code, held against it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from brainmvp_server.api.problems import STATUS
from brainmvp_server.observability.metrics import FAMILIES
from brainmvp_server.settings import entries

ROOT = Path(__file__).parents[2]


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generate()


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_page_says_what_the_code_says(name: str) -> None:
    page = (ROOT / "docs" / name).read_text("utf-8")
    assert page == generate.PAGES[name](), "run 'make docs'"


def test_every_problem_type_has_its_heading() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert len(set(headings)) == len(headings)
    assert {kind.code for kind in STATUS} <= set(headings)


def test_every_setting_and_metric_is_on_its_page() -> None:
    settings = (ROOT / "docs" / "settings.md").read_text()
    metrics = (ROOT / "docs" / "metrics.md").read_text()
    assert [entry.name for entry in entries() if f"| `{entry.name}` |" not in settings] == []
    assert [f.name for f in FAMILIES if f"`{f.name}" not in metrics] == []


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
