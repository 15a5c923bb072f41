"""A real PostgreSQL of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postgres import Postgres, fresh_postgres

__all__ = ["Postgres"]


@pytest.fixture
def postgres(program: Callable[[str], Path]) -> Iterator[Postgres]:
    """A fresh cluster on a free port."""
    with fresh_postgres(program) as cluster:
        yield cluster
