"""What earlier versions left behind, one folder a version."""

from __future__ import annotations

from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module", params=sorted(path.name for path in FIXTURES.iterdir()))
def past(request: pytest.FixtureRequest) -> Path:
    """The fixtures of a version, which no test may change."""
    return FIXTURES / str(request.param)
