"""What every group of settings is."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _split(value: Any) -> Any:
    return (
        [word for word in re.split(r"[,\s]+", value) if word] if isinstance(value, str) else value
    )


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Several words; in a flag or a variable with commas between."""


class Group(BaseModel):
    """A table of the TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
