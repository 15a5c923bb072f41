"""The chart, rendered by Helm's own engine."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm_engine import Helm, running

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "helm" / "brainmvp"
SITES = sorted((HERE / "values").glob("*.yaml"))
"""Values of sites that differ in what they need."""

Values = Mapping[str, Any]
Manifest = dict[str, Any]
Render = Callable[[Values], list[Manifest]]


def values_of(site: Path) -> Any:
    """A site's values."""
    return yaml.safe_load(site.read_text(encoding="utf-8")) or {}


@pytest.fixture(scope="session")
def helm() -> Iterator[Helm]:
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Gives the manifests of a release ``demo`` in the namespace ``radiology``, with its tests."""

    @functools.cache
    def rendered(values: str) -> str:
        return json.dumps(manifests_of(helm.render(CHART, json.loads(values))))

    def manifests(values: Values) -> list[Manifest]:
        found: list[Manifest] = json.loads(rendered(json.dumps(values, sort_keys=True)))
        return found

    return manifests


def manifests_of(files: Mapping[str, str]) -> list[Manifest]:
    """What is in the texts of a release."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return [one for text in texts for one in yaml.load_all(text, loader) if one]


def pods(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    """Every pod's specification with the kind and name of what makes it."""
    found = []
    for one in manifests:
        spec = one.get("spec", {})
        if one["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if one["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}:
            spec = spec["template"]["spec"]
        if "containers" in spec:
            found.append((f"{one['kind']}/{one['metadata']['name']}", spec))
    return found


def containers(pod: Manifest) -> list[Manifest]:
    """A pod's containers, those of its start included."""
    return [*pod.get("initContainers", []), *pod["containers"]]
