"""No fault of our own is silent: whoever catches everything says what it was, or hands it on."""

from __future__ import annotations

import ast
from pathlib import Path

import brainmvp_clients
import brainmvp_server

PACKAGES = tuple(Path(p.__path__[0]) for p in (brainmvp_clients, brainmvp_server))
_ALL = {"Exception", "BaseException"}


def broad(handler: ast.ExceptHandler) -> bool:
    """Does it catch whatever comes?"""
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in _ALL for node in ast.walk(handler.type))


def says(handler: ast.ExceptHandler) -> bool:
    """Is it raised on, with its cause, given to somebody, or written into the log?"""
    for node in ast.walk(handler):
        if isinstance(node, ast.Raise):
            told = node.exc is None or isinstance(node.cause, ast.Name)
            if told:
                return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = ast.unparse(node.func)
            if name.startswith("log.") or name.endswith(".set_exception"):
                return True
    return False


def silent(source: str) -> list[int]:
    """The lines of handlers that catch everything and say nothing."""
    handlers = (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ExceptHandler))
    return [handler.lineno for handler in handlers if broad(handler) and not says(handler)]


# The doctor prints what failed; a file's fault is told, and counted, by whoever scans the files;
# the command line ends with a line about it.
ELSEWHERE = {
    "brainmvp_server/commands/doctor.py": "doctor",
    "brainmvp_server/imaging/dicom/files.py": "UnreadableFile",
    "brainmvp_clients/cli/__init__.py": "_report",
}


def test_whoever_catches_everything_says_what_it_was() -> None:
    found = {
        f"{place}:{line}"
        for package in PACKAGES
        for path in package.rglob("*.py")
        if (place := path.relative_to(package.parent).as_posix()) not in ELSEWHERE
        for line in silent(path.read_text("utf-8"))
    }
    assert found == set()


def test_the_search_would_notice() -> None:
    assert silent("try:\n    f()\nexcept Exception:\n    g()") == [3]
    assert silent("try:\n    f()\nexcept (MemoryError, Exception):\n    raise X from None") == [3]
    assert silent("try:\n    f()\nexcept Exception as e:\n    log.info('%s', e)") == []
    assert silent("try:\n    f()\nexcept OSError:\n    g()") == []
