"""Helm's own engine, in a process of its own.

It is a library with Go's runtime in it, which takes threads and signals for itself from the moment
that it is loaded. In the process of the tests, beside PyTorch and OpenVINO, it once ended that
process without a word.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RELEASE = {"name": "demo", "namespace": "radiology"}
ANSWER_S = 60.0


class Refused(Exception):
    """What Helm says against a chart or its values."""


class ValuesRefused(Refused):
    """The values do not fit the chart's schema."""


@dataclass(frozen=True)
class Helm:
    """The process; every call may raise ``Refused``."""

    _process: ProcessPoolExecutor

    def render(self, chart: Path, values: Any) -> dict[str, str]:
        """The texts of a release ``demo`` in the namespace ``radiology``, by their templates."""
        return dict(self._asked(_render, chart, values))

    def validate(self, chart: Path, values: Any) -> None:
        """Hold values against a chart's schema."""
        self._asked(_validate, chart, values)

    def lint(self, chart: Path, values: Any) -> dict[str, Any]:
        """What Helm's linter finds, strictly."""
        return dict(self._asked(_lint, chart, values))

    def read(self, chart: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """A chart's metadata and its values."""
        metadata, values = self._asked(_read, chart)
        return metadata, values

    def _asked(self, call: Any, *words: Any) -> Any:
        return self._process.submit(call, *words).result(ANSWER_S)


@contextmanager
def running() -> Iterator[Helm]:
    """Helm, until the end."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield Helm(process)


@functools.cache
def _chart(folder: Path) -> Any:
    from helm_python import Chart

    return Chart.load(str(folder))


@contextmanager
def _refusing() -> Iterator[None]:
    from helm_python import HelmError, HelmValuesError

    try:
        yield
    except HelmValuesError as error:
        raise ValuesRefused(str(error)) from None
    except HelmError as error:
        raise Refused(str(error)) from None


def _render(chart: Path, values: Any) -> Any:
    _validate(chart, values)
    with _refusing():
        return _chart(chart).render(values, **RELEASE)


def _validate(chart: Path, values: Any) -> None:
    with _refusing():
        _chart(chart).validate_schema(values)


def _lint(chart: Path, values: Any) -> Any:
    from helm_python import lint

    with _refusing():
        return lint(str(chart), values, strict=True, kube_version="v1.31.0")


def _read(chart: Path) -> Any:
    with _refusing():
        return _chart(chart).metadata, _chart(chart).values
