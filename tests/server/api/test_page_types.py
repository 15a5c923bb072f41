"""The page's types of the service's answers, held against the OpenAPI document."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "server" / "page" / "generate.py"


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_page_types", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generate()


def test_the_committed_types_are_those_of_the_present_service() -> None:
    assert generate.WIRE.read_text("utf-8") == generate.wire(generate.document()), "run 'make page'"


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string"}, "string"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "number | null"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '("a" | "b")[]'),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2}, "[number, number]"),
        ({"type": "object", "additionalProperties": {"$ref": "#/x/Job"}}, "Record<string, Job>"),
    ],
    ids=["word", "null", "words", "tuple", "record"],
)
def test_a_schema_becomes_the_type_that_holds_its_values(
    schema: dict[str, Any], written: str
) -> None:
    thing = {"type": "object", "properties": {"field": schema}}
    text = generate.wire({"components": {"schemas": {"Thing": thing}}})
    assert text.endswith(f"export interface Thing {{\n  field: {written};\n}}\n")


def test_a_schema_that_is_not_translated_is_named() -> None:
    thing = {"type": "object", "properties": {"field": {"not": {}}}}
    with pytest.raises(ValueError, match=r"^Thing\.field: "):
        generate.wire({"components": {"schemas": {"Thing": thing}}})
