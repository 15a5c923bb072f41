"""The settings as a table: what each is called by flag, by variable and in the file."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from brainmvp_server.settings.group import Group
from brainmvp_server.settings.model import Settings

PREFIX = "BRAINMVP_"


@dataclass(frozen=True)
class Entry:
    """One setting."""

    group: str
    name: str
    field: FieldInfo

    @property
    def flag(self) -> str:
        """Its flag; a secret has none of its own, as other users of the machine see flags."""
        return "--" + self.name.replace("_", "-") + ("-file" if self.secret else "")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types it may have, but None."""
        annotation = self.field.annotation
        if get_origin(annotation) in (Union, types.UnionType):
            return tuple(kind for kind in get_args(annotation) if kind is not type(None))
        return (annotation,)

    @property
    def secret(self) -> bool:
        """Is its value never shown?"""
        return SecretStr in self.kinds

    @property
    def switch(self) -> bool:
        """Is it on or off?"""
        return self.kinds == (bool,)

    @property
    def required(self) -> bool:
        """Is there no default?"""
        return self.field.is_required()

    @property
    def default(self) -> Any:
        """The default; None where there is none."""
        value = self.field.get_default(call_default_factory=True)
        return None if value is PydanticUndefined else value

    @property
    def help(self) -> str:
        """One sentence."""
        return self.field.description or ""


def groups() -> Iterator[tuple[str, type[Group]]]:
    """The tables of the TOML file."""
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type) and issubclass(kind, Group)
        yield name, kind


@cache
def entries() -> tuple[Entry, ...]:
    """Every setting, in the order of the model."""
    return tuple(
        Entry(group, name, field)
        for group, kind in groups()
        for name, field in kind.model_fields.items()
    )
