"""Results as tables for people. Whatever a server sent is made plain text first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainmvp_clients.answers import (
    ExpectedQuality,
    Finding,
    Findings,
    NotDeterminable,
    Population,
    PreparationDone,
    Summary,
)
from brainmvp_clients.dicom import as_option
from brainmvp_clients.errors import one_line, sentence
from brainmvp_clients.served_models import Catalogue, Model, Output

DEMO = "Demo model: it shows the software. Its results mean nothing."
MOST_PARTS = 5
"""Parts of a structure that are printed."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def show_summary(summary: Summary, folder: Path, console: Console | None = None) -> None:
    """Print what was found, from what, how long it took, and where it lies."""
    console = console or Console()
    if summary.scores or summary.structures:
        whole = summary.kind == "classification"
        console.print(_scores(summary) if whole else _structures(summary))
    if summary.scores or any(entry.confidence is not None for entry in summary.structures):
        _line(console, "Note", _calibrated(summary))
    for open_question in summary.not_determinable:
        text = Text(one_line(_open(open_question)), style="bold yellow")
        console.print(text, soft_wrap=True)
    if any(entry.parts for entry in summary.structures):
        console.print(_parts(summary))
    _line(console, "Real", ", ".join(entry.modality for entry in summary.real))
    _line(
        console,
        "Filled",
        ", ".join(f"{entry.modality} ({entry.policy})" for entry in summary.filled),
    )
    for line in _expected(summary.expected_quality):
        _line(console, "Expected", line)
    for population in dict.fromkeys(entry.population for entry in summary.expected_quality):
        if population is not None:
            _line(console, "Measured", _population(population))
    _line(
        console,
        "Seconds",
        ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in summary.seconds.items()),
    )
    if summary.preparation is not None:
        _line(console, "Prepared", _prepared(summary.preparation))
    engine = summary.engine
    run_by = engine.name, engine.device, engine.precision, f"profile {summary.profile}"
    _line(console, "Engine", " ".join(filter(None, run_by)))
    said = {f"{one.title} is not determinable: {one.reason}" for one in summary.not_determinable}
    for warning in (text for text in summary.warnings if text not in said):
        _line(console, "Warning", warning, style="yellow")
    _line(console, "Results", str(folder))
    _line(console, "Use", summary.intended_use)
    if summary.demo:
        console.print(Text(DEMO, style="bold yellow"), soft_wrap=True)


def _prepared(done: PreparationDone) -> str:
    """``onto t1c: flair moved 12.3 mm; brain 1402 mL``."""
    moved = [f"{one.modality} moved {one.moved_mm:.1f} mm" for one in done.moved]
    brain = [] if done.brain_ml is None else [f"brain {done.brain_ml:.0f} mL"]
    return f"onto {done.reference}: {'; '.join((*moved, *brain)) or 'nothing was moved'}"


def _calibrated(summary: Summary) -> str:
    """``confidence: calibrated on 40 synthetic studies``, or that it is not."""
    what, said = "scores" if summary.scores else "confidence", summary.probabilities
    if not said.calibrated:
        return f"{what}: not calibrated"
    but = f"; not calibrated: {', '.join(said.not_calibrated)}" if said.not_calibrated else ""
    return f"{what}: calibrated on {said.measured_on}{but}"


def _expected(figures: Iterable[ExpectedQuality]) -> list[str]:
    """``WT dice 0.912 (0.890 to 0.931), measured on 50 patient studies``: a line for each whom."""
    lines: dict[str, list[str]] = {}
    for one in figures:
        between = ""
        if one.low is not None and one.high is not None:
            between = f" ({one.low:.3f} to {one.high:.3f})"
        whom = one.measured_on or f"{one.studies} studies"
        lines.setdefault(whom, []).append(f"{one.output} {one.metric} {one.value:.3f}{between}")
    return [f"{', '.join(found)}, measured on {whom}" for whom, found in lines.items()]


def _open(entry: NotDeterminable) -> str:
    """``Not determinable: enhancing tumour: it needs t1c, which the study lacks; missing: t1c.``"""
    missing = f"; missing: {', '.join(entry.missing)}" if entry.missing else ""
    given = " What was found is given because it was asked for." if entry.given else ""
    return f"Not determinable: {entry.title or entry.output}: {entry.reason}{missing}.{given}"


def _population(one: Population) -> str:
    """Whom the quality to expect was measured on."""
    return (
        f"{one.description}; {one.anatomy} anatomy; prepared: {one.preparation}; "
        f"field of use: {one.field_of_use}"
    )


def show_models(catalogue: Catalogue, console: Console | None = None) -> None:
    """Print the models, and what was found but is not served."""
    console = console or Console()
    if catalogue.models:
        rows = [_model_row(model) for model in catalogue.models]
        heads = ("Model", "Version", "Kind", "Modalities (* required)", "Fill", "Outputs")
        console.print(_table(f"{len(rows)} model(s)", heads, rows))
    else:
        console.print(Text("No models."))
    if any(model.demo for model in catalogue.models):
        console.print(Text(DEMO.replace("Demo model:", "(demo):", 1), style="yellow"))
    for entry in catalogue.refused:
        line = sentence(entry.name, entry.problem, entry.remedy or "Export it again")
        _line(console, "Refused", line, style="yellow")


def show_findings(findings: Findings, console: Console | None = None) -> None:
    """Print a study's volumes, what they are and why; those that are used have an asterisk."""
    console = console or Console()
    heads = ("Volume", "Modality", "Confidence", "Description", "Why")
    rows = [_finding_row(finding) for finding in findings.volumes]
    console.print(_table(f"{len(rows)} volume(s), * used", heads, rows))
    if findings.other or findings.unreadable:
        console.print(Text(f"{findings.other} other and {findings.unreadable} unreadable files"))
    for warning in findings.warnings:
        _line(console, "Warning", warning, style="yellow")


def _finding_row(finding: Finding) -> tuple[Text, ...]:
    return (
        _plain(finding.label),
        _plain(f"{finding.modality or '-'}{'*' if finding.used else ''}"),
        _plain(finding.confidence),
        _plain(finding.description or ""),
        _plain("; ".join(filter(None, (as_option(finding.reason), *finding.evidence)))),
    )


def _structures(summary: Summary) -> Table:
    rows = [
        (
            _swatch(entry.colour),
            _plain(entry.name),
            _plain(entry.title),
            Text(f"{entry.volume_ml:.2f}"),
            Text(f"{entry.voxels}"),
            Text(f"{entry.components}"),
            Text("" if entry.confidence is None else f"{entry.confidence:.2f}"),
        )
        for entry in summary.structures
    ]
    heads = ("", "Structure", "Title", "mL", "Voxels", "Components", "Confidence")
    return _table(_title(summary), heads, rows, right=("mL", "Voxels", "Components", "Confidence"))


def _parts(summary: Summary) -> Table:
    """The largest parts of each structure; those that are left out are in the summary."""
    rows = [
        (
            _swatch(structure.colour),
            _plain(f"{structure.name} {part.number}"),
            Text(f"{part.volume_ml:.2f}"),
            Text(f"{part.size.diameter_mm:.1f} x {part.size.across_mm:.1f}"),
            Text(f"{part.size.diameter_3d_mm:.1f}"),
            _plain(part.side or ""),
            Text("" if part.to_surface_mm is None else f"{part.to_surface_mm:.1f}"),
        )
        for structure in summary.structures
        for part in structure.parts[:MOST_PARTS]
    ]
    heads = ("", "Part", "mL", "Diameters, mm", "3-D, mm", "Side", "Depth, mm")
    return _table(
        "Largest parts", heads, rows, right=("mL", "Diameters, mm", "3-D, mm", "Depth, mm")
    )


def _scores(summary: Summary) -> Table:
    ranked = sorted(summary.scores, key=lambda entry: -entry.score)
    rows = [(_plain(e.name), _plain(e.title), Text(f"{e.score:.3f}")) for e in ranked]
    return _table(_title(summary), ("Class", "Title", "Score"), rows, right=("Score",))


def _title(summary: Summary) -> str:
    return f"{summary.model} {summary.version}"


def _model_row(model: Model) -> tuple[Text, ...]:
    channels = (f"{entry.modality}{'*' if entry.required else ''}" for entry in model.channels)
    return (
        _plain(f"{model.name}{' (demo)' if model.demo else ''}"),
        _plain(", ".join(model.versions) or model.version),
        _plain(model.kind),
        _plain(", ".join(channels)),
        _plain(model.fill),
        _plain(", ".join(_output(entry) for entry in model.outputs)),
    )


def _output(entry: Output) -> str:
    """``ET (needs t1c)``."""
    return f"{entry.name} (needs {', '.join(entry.needs)})" if entry.needs else entry.name


def _table(
    title: str, heads: Iterable[str], rows: Iterable[tuple[Text, ...]], right: tuple[str, ...] = ()
) -> Table:
    table = Table(title=_plain(title), title_justify="left", title_style="bold")
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _line(console: Console, name: str, value: str, style: str = "") -> None:
    if value:
        console.print(Text(f"{name + ':':<10}{one_line(value)}", style=style), soft_wrap=True)


def _swatch(colour: str | None) -> Text:
    known = colour is not None and _COLOUR.fullmatch(colour) is not None
    return Text("■", style=colour) if colour and known else Text("")


def _plain(text: str) -> Text:
    return Text(one_line(text, 200))
