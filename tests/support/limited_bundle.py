"""Bundles that know what they cannot decide: others' with needs, figures and a population."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from brainmvp_models.bundle import Bundle
from brainmvp_models.manifest import Evaluated, SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import RegionOutputs

PEOPLE = Population(
    kind="patient",
    description="twelve adults of one hospital",
    anatomy="real",
    preparation="brains without skulls, 1 mm",
    field_of_use="research on gliomas",
)


def needing(bundle: Bundle, folder: Path, needs: Mapping[str, Modality]) -> Bundle:
    """A copy of a bundle of regions in ``folder``; some of them need a modality."""
    outputs = bundle.task.outputs
    assert isinstance(outputs, RegionOutputs)
    regions = tuple(
        region.model_copy(update={"needs": (needs[region.name],)})
        if region.name in needs
        else region
        for region in outputs.regions
    )
    changed = outputs.model_copy(update={"regions": regions})
    task = bundle.task.model_copy(update={"outputs": changed})
    return _copied(bundle, folder, {"task": task})


def measured(
    bundle: Bundle,
    folder: Path,
    *card: SubsetQuality,
    population: Population | None = PEOPLE,
) -> Bundle:
    """A copy of a bundle in ``folder`` with a subset card."""
    evaluated = Evaluated(
        command="drawn for tests",
        datalist="",
        evaluator="",
        created="2026-01-01T00:00:00Z",
        population=population,
    )
    return _copied(bundle, folder, {"subset_card": card, "evaluated": evaluated})


def _copied(bundle: Bundle, folder: Path, changes: Mapping[str, object]) -> Bundle:
    manifest = bundle.manifest.model_copy(update=changes)
    root = folder / manifest.name / manifest.version
    shutil.copytree(bundle.root, root)
    (root / "manifest.json").write_text(manifest.model_dump_json())
    return Bundle.open(root)
