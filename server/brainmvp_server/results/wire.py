"""What every value that goes over the wire is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

Point = tuple[float, float, float]


class Wire(BaseModel):
    """A value that goes over the wire."""

    model_config = ConfigDict(frozen=True)
