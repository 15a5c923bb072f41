"""OpenAPI documents as flat tables, so that two of them can be compared whatever schemas are
called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
METHODS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True)
class Field:
    """A value of a request or an answer.

    Attributes:
        needed: whether it must be there.
        types: JSON types that it may have.
        values: the only ones it may have; empty for any.
    """

    needed: bool
    types: frozenset[str]
    values: frozenset[str] = frozenset()


Fields: TypeAlias = dict[str, Field]
"""By path, such as ``jobs[].error.code``; ``""`` is the whole."""


def calls(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Every path and method with its operation."""
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                yield path, method, operations[method]


def parameters(document: Json, operation: Json) -> Fields:
    """What a call takes beside its body, by place and name."""
    found: Fields = {}
    for parameter in operation.get("parameters", ()):
        whole = fields(document, parameter.get("schema", {}))[""]
        name = f"{parameter['in']} {parameter['name']}"
        found[name] = Field(bool(parameter.get("required")), whole.types, whole.values)
    return found


def bodies(document: Json, content: Json) -> dict[str, Fields]:
    """The fields of a body, by its media type."""
    return {kind: fields(document, body.get("schema", {})) for kind, body in content.items()}


def fields(document: Json, schema: Json) -> Fields:
    """A schema and all that is in it; what holds itself is followed once."""
    found: Fields = {}
    _collect(document, schema, "", True, (), found)
    return found


def _collect(
    document: Json, schema: Json, path: str, needed: bool, seen: tuple[str, ...], found: Fields
) -> None:
    reference = schema.get("$ref")
    if reference is not None:
        if reference in seen:
            return
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        _collect(document, target, path, needed, (*seen, reference), found)
        return
    for key in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(key, ()):
            _collect(document, one, path, needed, seen, found)
    _add(schema, path, needed, found)
    for name, one in schema.get("properties", {}).items():
        below = f"{path}.{name}".lstrip(".")
        _collect(document, one, below, name in schema.get("required", ()), seen, found)
    for item in (schema.get("items"), *schema.get("prefixItems", ())):
        if isinstance(item, dict):
            _collect(document, item, f"{path}[]", True, seen, found)


def _add(schema: Json, path: str, needed: bool, found: Fields) -> None:
    kind = schema.get("type", ())
    types = frozenset([kind] if isinstance(kind, str) else kind)
    constant = [schema["const"]] if "const" in schema else []
    values = frozenset(map(str, schema.get("enum", constant)))
    other = found.get(path, Field(needed, frozenset()))
    found[path] = Field(other.needed and needed, other.types | types, other.values | values)
