"""The model card: what a bundle is, in words a clinician or an integrator can read."""

from __future__ import annotations

from pathlib import Path

from brainmvp_models.manifest import Parity
from brainmvp_models.task import Needs, RegionOutputs, ScoreOutputs, Task

_DEMO = (
    "> **A demonstration.** This model shows the software. "
    "It is not a clinical model; its output has no clinical meaning."
)


def write_card(
    path: Path, task: Task, parity: tuple[Parity, ...], *, name: str, demo: bool, notes: str
) -> None:
    """Write ``card.md``: use, inputs, outputs, parity, then the exporter's own ``notes``."""
    parts = [
        f"# {name}",
        f"{task.title}.",
        *([_DEMO] if demo else []),
        f"**Intended use.** {task.intended_use}",
        *([f"**Licence.** {task.licence}"] if task.licence else []),
        "## Inputs\n\n" + _inputs(task),
        "## Outputs\n\n" + _outputs(task),
        "## Parity with the checkpoint\n\n" + _parity(parity),
        *([notes.strip()] if notes.strip() else []),
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _inputs(task: Task) -> str:
    rows = ["| channel | modality | if missing |", "| --- | --- | --- |"]
    for index, channel in enumerate(task.channels):
        missing = "refused" if channel.required else f"template of {channel.filler}"
        rows.append(f"| {index} | {channel.modality} | {missing} |")
    return "\n".join(rows)


def _outputs(task: Task) -> str:
    outputs = task.outputs
    if isinstance(outputs, ScoreOutputs):
        return "\n".join(
            f"- {score.name}: {score.title or score.name}" for score in outputs.classes
        ) + (f"\n\nThe class{_needs(outputs.needs)}." if outputs.needs else "")
    if isinstance(outputs, RegionOutputs):
        return "\n".join(
            f"- {region.name}: {region.title or region.name} "
            f"(labels {', '.join(map(str, region.labels))}){_needs(region.needs)}"
            for region in outputs.regions
        )
    return "\n".join(
        f"- {c.value}: {c.name}, {c.title or c.name}{_needs(c.needs)}" for c in outputs.classes
    )


def _needs(modalities: Needs) -> str:
    return f" needs {', '.join(modalities)} to be determinable" if modalities else ""


def _parity(parity: tuple[Parity, ...]) -> str:
    rows = [
        "Largest difference of a logit from PyTorch's, over the logits' standard deviation, on "
        "windows of a real scan.",
        "",
        "| engine | windows | largest difference | allowed | agreement |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| {p.engine} | {p.windows} | {p.max_error:.1e} | {p.tolerance:g} | {p.agreement:.5f} |"
        for p in parity
    ]
    return "\n".join(rows)
