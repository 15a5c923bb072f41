"""Every run of the tests ends, leaves nothing behind and can be interrupted."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import run_rules

LEAVES = """
    import tempfile

    def test_tidy(tmp_path):
        with tempfile.TemporaryDirectory():
            pass

    def test_leaves_a_folder():
        tempfile.mkdtemp(prefix="brainmvp-")
"""
INTERRUPTS = """
    import signal, subprocess, sys

    def test_child_is_interrupted():
        child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with child:
            child.stdout.readline()
            child.send_signal(signal.SIGINT)
            child.wait()
            assert child.returncode != 0
"""
DIES = """
    import os

    def test_before():
        pass

    def test_dies():
        os._exit(1)
"""
HANGS = """
    import threading

    def test_hangs():
        try:
            threading.Event().wait(60)
        finally:
            threading.Event().wait(60)
"""


def run(folder: Path, test: str, *arguments: str, shell: str = "") -> tuple[int, str]:
    """Exit code and output of pytest over one file, begun by a shell that has done ``shell``."""
    (folder / "test_it.py").write_text(textwrap.dedent(test))
    (folder / "pytest.ini").write_text("[pytest]\n")
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment |= {
        "PYTHONPATH": str(Path(run_rules.__file__).parent), "TMPDIR": str(temporary),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "pytest_timeout"]
    command += ["-p", "run_rules", "-p", "no:cacheprovider"]
    done = subprocess.run(
        ["sh", "-c", f'{shell}exec "$@"', "sh", *command, *arguments], cwd=folder, text=True,
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=50, check=False,
    )  # fmt: skip
    assert [path.name for path in temporary.glob("brainmvp-*")] == []
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_a_test_leaves_in_the_temporary_folder_fails_the_run_and_names_the_test(
    tmp_path: Path, workers: str
) -> None:
    code, said = run(tmp_path, LEAVES, "-n", workers)
    assert code == 1 and "2 passed" in said
    named = said.partition("left in the temporary folder")[2]
    assert "by test_it.py::test_leaves_a_folder" in named and "test_tidy" not in named
    assert run(tmp_path, LEAVES, "-n", workers, "-k", "tidy")[0] == 0


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_interrupt_reaches_what_a_test_starts_even_where_the_parent_ignores_it(
    tmp_path: Path, workers: str
) -> None:
    code, said = run(tmp_path, INTERRUPTS, "-n", workers, "--timeout", "20", shell="trap '' INT; ")
    assert code == 0, said


def test_a_test_that_hangs_even_when_it_is_stopped_is_ended_by_name(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """As ``pyproject.toml`` has it, with less time."""
    fails, ends = (float(pytestconfig.getini(n)) for n in ("timeout", "faulthandler_timeout"))
    assert ends > fails > 0 and pytestconfig.getini("faulthandler_exit_on_timeout")
    code, said = run(
        tmp_path, HANGS, "-n", "1", "-o", "timeout=1",
        "-o", "faulthandler_timeout=2", "-o", "faulthandler_exit_on_timeout=true",
    )  # fmt: skip
    assert code == 1 and "test_it.py::test_hangs" in said


def test_a_run_whose_worker_dies_ends_and_names_the_test(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"test_{name}.py").write_text("def test_passes(): pass\n")
    code, said = run(tmp_path, DIES, "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    assert code != 0 and "crashed while running 'test_it.py::test_dies'" in said
