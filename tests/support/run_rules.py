"""What holds for every run of the tests: a plugin of pytest, in each process that runs them.

- Nothing stays in the temporary folder. The tests and all that they start have one of their own;
  what is left there at the end fails the run, and the test that left it is named.
- Ctrl-C reaches what tests start, even where the run's parent ignores it, as a shell does for what
  it runs in the background: a process that is born with SIGINT ignored goes on ignoring it.
- Tests of real processes are tried once more where one fails, by place, with the reason
  (:data:`TRIED_AGAIN`); the summary says which. Nothing else is.
- Coverage is measured by the tests of the packages that have a bound (:data:`MEASURED`), and while
  these are loaded; nothing else is traced.
- A worker that dies ends the run, which says what it was at: with others to take its place, xdist
  hands out files that are done once more, and waits for ever for whoever is given nothing else.
- Python keeps what it compiles, also where the environment says that it shall not: the tests start
  it some hundred times.
- Workers that run side by side share the processors. Threads of OpenMP that outnumber them wait
  for each other busily.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest

LIBRARIES = (".ses", "torchelastic_", "torchinductor_")
"""How the names begin of what OpenVINO and torch leave there; it goes with the run's folder."""

TRIED_AGAIN = {
    "tests/server/faults/": "kills and stalls, at a moment that a loaded machine may miss",
    "tests/server/jobs/": "a job is caught on its way, between two looks at the database",
    "tests/end_to_end/": "browsers and archives start, and are given limited time",
    "tests/clients/pacs/": "archives and sockets, whose order of events the system decides",
}
"""Tests of real processes that a busy machine may fail once, by place, and why."""

FIRST = "tests/training/"
"""What begins the run: its files are long, and at the end they would leave other workers idle."""

MEASURED = ("imaging", "inference", "api")
"""The server's packages whose coverage has a bound. Only their tests are traced, line by line,
which costs as much again as they do; and of these no property tests, which go the same lines often.
"""

REPEATING = (
    "imaging/dicom/test_extent.py",
    "imaging/dicom/test_mutated.py",
    "imaging/dicom/test_whole_series.py",
    "inference/test_fairness.py",
    "inference/test_geometry.py",
    "inference/test_pipeline_parity.py",
    "api/test_dicom_input.py",
)
"""Files of these whose tests go, a hundred times over, lines that others go too: not traced."""

_LEFT = pytest.StashKey[dict[str, str]]()
_FOLDER = pytest.StashKey[Path]()
_TRACER = pytest.StashKey[coverage.Coverage | None]()


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile("no deadline", deadline=None)  # a machine may be busy
    hypothesis.settings.load_profile("no deadline")
    if hasattr(config.option, "maxworkerrestart"):
        config.option.maxworkerrestart = "0"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        share = max(1, (os.cpu_count() or 1) // workers)
        os.environ.setdefault("OMP_NUM_THREADS", str(share))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # pytest's own folders stay where they are: it keeps those of the last runs on purpose.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="brainmvp-tests-"))
    config.stash[_FOLDER], config.stash[_LEFT] = folder, {}
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_collection(session: pytest.Session) -> None:
    """Load what is measured, so that its definitions count; then trace nothing but its tests."""
    tracer = session.config.stash[_TRACER] = coverage.Coverage.current()
    if tracer is not None:
        for package in MEASURED:
            _load(f"brainmvp_server.{package}")
        tracer.stop()


def _load(package: str) -> None:
    """Import all modules of a package but those whose libraries are not installed."""
    folder = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(folder, f"{package}."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(tuple(TRIED_AGAIN)):
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))  # keeps the order of equals


def _is_measured(item: pytest.Item | None) -> bool:
    repeats = hypothesis.is_hypothesis_test(getattr(item, "obj", None))
    if item is None or repeats or item.nodeid.startswith(_places(REPEATING)):
        return False
    return item.nodeid.startswith(_places(MEASURED))


def _places(names: tuple[str, ...]) -> tuple[str, ...]:
    """How the names of the server's tests begin."""
    return tuple(f"tests/server/{name}" for name in names)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _FOLDER in config.stash:
        folder = config.stash[_FOLDER]
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder.parent)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Trace what is measured, and remember which test made what is in the temporary folder."""
    tracer = item.config.stash[_TRACER]
    traces = tracer is not None and coverage.Coverage.current() is tracer
    if tracer is not None and _is_measured(item) and not traces:
        tracer.start()
    result = yield
    # A stop is also one for threads that a fixture has started and the next test needs.
    if tracer is not None and not _is_measured(nextitem):
        tracer.stop()
    made = item.config.stash[_LEFT]
    found = (path.name for path in item.config.stash[_FOLDER].glob("*"))
    there = {name for name in found if not name.startswith(LIBRARIES)}
    for name in there - made.keys():
        made[name] = item.nodeid
    for name in made.keys() - there:
        del made[name]
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if something is left; a worker tells its controller."""
    left = session.config.stash[_LEFT]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = left
    elif left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a worker what it left."""
    node.config.stash[_LEFT].update(getattr(node, "workeroutput", {}).get("left", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    left = config.stash[_LEFT]
    if left:
        terminalreporter.section("left in the temporary folder", red=True)
        for name, test in sorted(left.items()):
            terminalreporter.line(f"{name}  by {test}", red=True)
