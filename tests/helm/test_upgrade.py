"""Whether Kubernetes takes an upgrade: from the charts before, and from this one to the next."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from helm_engine import Helm

from .conftest import CHART, HERE, SITES, Render, manifests_of, values_of
from .immutable_fields import immutable_fields, refused

BEFORE = {
    f"{path.stem}/{site}": kept
    for path in sorted((HERE / "before").glob("*.json"))
    for site, kept in json.loads(path.read_text()).items()
}
"""What earlier charts made of their sites' values."""


@pytest.mark.parametrize("site", BEFORE)
def test_an_upgrade_from_an_earlier_chart_is_taken_with_its_values(
    site: str, render: Render
) -> None:
    kept = BEFORE[site]
    after = immutable_fields(render(kept["values"]))
    assert refused(kept["fields"], after) == []


@pytest.fixture(scope="module")
def next_chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This chart with the number of a later release."""
    folder = tmp_path_factory.mktemp("next") / "brainmvp"
    shutil.copytree(CHART, folder)
    about = folder / "Chart.yaml"
    about.write_text(re.sub(r"(?m)^(version|appVersion): .*", r"\1: 99.0.0", about.read_text()))
    return folder


@pytest.mark.parametrize("site", SITES, ids=lambda path: path.stem)
def test_an_upgrade_to_the_next_release_is_taken_with_the_same_values(
    site: Path, render: Render, helm: Helm, next_chart: Path
) -> None:
    """With images of the site's own naming: else every release's Jobs have other names anyway."""
    values = values_of(site)
    values["image"] = {**values.get("image", {}), "tag": "pinned", "digest": ""}
    if "exportJob" in values:
        values["exportJob"] = {**values["exportJob"], "tag": "pinned"}
    before, after = render(values), manifests_of(helm.render(next_chart, values))
    assert refused(immutable_fields(before), immutable_fields(after)) == []


def test_what_kubernetes_would_refuse_is_seen(render: Render) -> None:
    values = {"mode": "split", "jobs": {"enabled": True, "claim": "c", "database": {"secret": "s"}}}
    before = immutable_fields(render(values))
    for path, value in (
        (("StatefulSet/demo-brainmvp-worker", "serviceName"), "other"),
        (("Deployment/demo-brainmvp", "selector"), {}),
    ):
        after = {name: dict(fields) for name, fields in before.items()}
        after[path[0]][path[1]] = value
        assert refused(before, after) == [f"{path[0]}: {path[1]}"]
    gone = {name: fields for name, fields in before.items() if "Deployment" not in name}
    assert refused(before, gone) == ["Deployment/demo-brainmvp is gone"]
