"""Writes what an earlier chart made that Kubernetes lets nobody change: ``before/NAME.json``.

::

    python tests/helm/make_before.py COMMIT NAME

renders the chart of a commit or tag with the values of its sites. At a release, with its tag and
its version.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python as helm
import yaml
from immutable_fields import immutable_fields

HERE = Path(__file__).parent
RELEASE = {"name": "demo", "namespace": "radiology"}


def main(commit: str, name: str) -> None:
    """Write the fields of every site, with its values."""
    with tempfile.TemporaryDirectory() as folder:
        paths = ("helm/brainmvp", "tests/helm/values")
        archive = subprocess.run(
            ["git", "archive", commit, *paths], cwd=HERE.parents[1], check=True, capture_output=True
        )
        subprocess.run(["tar", "-x"], cwd=folder, check=True, input=archive.stdout)
        chart = helm.Chart.load(str(Path(folder, paths[0])))
        sites = {}
        for path in sorted(Path(folder, paths[1]).glob("*.yaml")):
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            files = chart.render(values, **RELEASE)
            texts = [text for file, text in sorted(files.items()) if file.endswith(".yaml")]
            manifests = [one for text in texts for one in yaml.safe_load_all(text) if one]
            fields = immutable_fields(manifests)
            kept = {name: fixed for name, fixed in fields.items() if fixed}
            sites[path.stem] = {"values": values, "fields": kept}
    (HERE / "before").mkdir(exist_ok=True)
    (HERE / "before" / f"{name}.json").write_text(json.dumps(sites, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
