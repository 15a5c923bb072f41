"""``brainmvp`` in this process, which has imported what a new one would take seconds over."""

from __future__ import annotations

import io
import subprocess
from contextlib import redirect_stderr, redirect_stdout

from brainmvp_clients.cli import run


def brainmvp(*words: object) -> subprocess.CompletedProcess[str]:
    """Run one command line; its exit code and what it printed."""
    arguments = [str(word) for word in words]
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        code = run(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())
