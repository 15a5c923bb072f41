"""Run one command line again and again, each time killed after a while, then once to its end.

    python killed_often.py '{"arguments": [...], "moments": [0.1, ...]}'

Children are forks of a process that has imported everything, so that a kill meets the work and not
the start of Python. Prints the exit codes; -9 where the kill met the command still running.
"""

import json
import os
import signal
import sys
import time

import brainmvp_clients.cli.score  # noqa: F401
from brainmvp_clients.cli import run


def ended(arguments: list[str], moment: float | None) -> int:
    """The exit code of one child, killed after ``moment`` seconds."""
    child = os.fork()
    if child == 0:
        os._exit(run(arguments))
    if moment is not None:
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)  # it is not waited for yet, so the number is still its own
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps([ended(asked["arguments"], moment) for moment in (*asked["moments"], None)]))
