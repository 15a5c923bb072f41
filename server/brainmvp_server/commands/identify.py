"""Identification without a server, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainmvp_server.api.parameters import assignment
from brainmvp_server.imaging.archive import files_below
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
    assigned = dict(map(assignment, assign))
    options = IntakeOptions(assigned, 1000.0 if b_value is None else b_value, rules)
    scratch = Scratch()
    scratch.empty()
    with scratch.folder() as folder:
        found = take_in(files_below(study), folder, options)
        return Findings.of_all(found).model_dump_json(indent=2)
