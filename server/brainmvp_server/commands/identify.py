"""Identification without a server, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainmvp_server.api.parameters import assignment
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import IntakeOptions, take_in
from brainmvp_server.results.findings import Findings
from brainmvp_server.runtime.scratch import Scratch


def identify(
    study: Path, assign: Sequence[str] = (), b_value: float | None = None, rules: Path | None = None
) -> str:
    """What a folder or a file holds, as ``POST /v1/studies/identify`` answers.

    Args:
        assign: ``SERIES:MODALITY`` or ``SERIES:none``.
        b_value: the diffusion weighting that is preferred, s/mm²; 1000 by default.
        rules: a site's own.

    Raises:
        BrainMVPError: one of its kinds.
    """
    paths = [study] if study.is_file() else _below(study)
    assigned = dict(map(assignment, assign))
    options = IntakeOptions(assigned, 1000.0 if b_value is None else b_value, rules)
    scratch = Scratch()
    scratch.empty()
    with scratch.folder() as folder:
        files = [Unpacked(path, path.name) for path in paths]
        return Findings.of_all(take_in(files, folder, options)).model_dump_json(indent=2)


def _below(folder: Path) -> list[Path]:
    """A folder's files as a client would send them: neither hidden ones nor an index."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name.upper() != "DICOMDIR"
        and not any(step.startswith(".") for step in path.relative_to(folder).parts)
    ]
