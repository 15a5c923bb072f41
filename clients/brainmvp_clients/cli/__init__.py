"""The command ``brainmvp``.

Exit codes: 0 done, 2 bad usage or input, 3 done but for an output that is not determinable, 70 a
fault of the program, 130 interrupted. Whatever goes wrong is one line on stderr;
``BRAINMVP_DEBUG=1`` shows the trace as well.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from brainmvp_clients.cli.commands import PROGRAM, build
from brainmvp_clients.cli.problems import user_message

DONE, BAD_INPUT, INTERNAL, INTERRUPTED = 0, 2, 70, 130


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        outcome = build().main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        return _report(error)
    return outcome if type(outcome) is int else DONE


def _report(error: Exception) -> int:
    debug = os.environ.get("BRAINMVP_DEBUG", "") not in ("", "0")
    if debug:
        traceback.print_exception(error)
    line = user_message(error)
    code = INTERNAL if line is None else BAD_INPUT
    if line is None:
        hint = "" if debug else "; run with BRAINMVP_DEBUG=1 to see the trace"
        line = f"internal error ({type(error).__name__}){hint}"
    start = "" if line.startswith(f"{PROGRAM} ") else f"{PROGRAM}: "
    print(f"{start}{line}", file=sys.stderr)
    return code


__all__ = ["main", "run"]
