"""Write the page's types of the service's answers from the service's OpenAPI document.

Run by ``make page``; a test holds ``src/wire.ts`` against the document. The events of a job hold a
``Job``, and ``summary.json`` holds a ``Summary``. What a client sends is not described here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings

WIRE = Path(__file__).parent / "src" / "wire.ts"
_NOTE = "// Written by `make page` from the service's OpenAPI document; do not edit."
# It is sent without its empty fields, and problem.ts reads it field by field.
_LEFT_OUT = "Problem"
_PLAIN = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
Schema = Mapping[str, Any]


def document() -> dict[str, Any]:
    """The OpenAPI document of a service that takes jobs."""
    with tempfile.TemporaryDirectory() as folder:
        models, jobs = Path(folder, "models"), Path(folder, "jobs")
        models.mkdir()
        # A process can work on the jobs of one service only; one that only answers is free of that.
        settings = Settings.of(models=models, jobs_storage=str(jobs), role="api")
        return create_app(settings).openapi()


def wire(openapi: Schema) -> str:
    """The TypeScript module that declares the schemas of an OpenAPI document.

    Raises:
        ValueError: a schema uses what is not translated.
    """
    schemas: Schema = openapi["components"]["schemas"]
    names = sorted(schemas.keys() - {_LEFT_OUT})
    return "\n\n".join([_NOTE, *(_declaration(name, schemas[name]) for name in names)]) + "\n"


def _declaration(name: str, schema: Schema) -> str:
    about = _comment(schema, "")
    if schema.get("type") != "object":
        return f"{about}export type {name} = {_type(name, schema)};"
    lines = [f"{about}export interface {name} {{"]
    for key, field in schema.get("properties", {}).items():
        # The service writes every field, also one that has a default.
        lines.append(f"{_comment(field, '  ')}  {key}: {_type(f'{name}.{key}', field)};")
    return "\n".join([*lines, "}"])


def _comment(schema: Schema, indent: str) -> str:
    words = " ".join(schema.get("description", "").split())
    return f"{indent}/** {words} */\n" if words else ""


def _type(where: str, schema: Schema) -> str:
    """A schema as a TypeScript type; ``where`` names it in errors."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " | ".join(json.dumps(value) for value in values)
    if "anyOf" in schema:
        return " | ".join(_type(where, choice) for choice in schema["anyOf"])
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(_type(where, item) for item in schema['prefixItems'])}]"
    if kind == "array" and "items" in schema:
        item = _type(where, schema["items"])
        return f"({item})[]" if " | " in item else f"{item}[]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"Record<string, {_type(where, schema['additionalProperties'])}>"
    if kind not in _PLAIN:
        raise ValueError(f"{where}: a schema of this form is not translated: {json.dumps(schema)}")
    return _PLAIN[kind]


if __name__ == "__main__":
    WIRE.write_text(wire(document()), encoding="utf-8")
