"""Requests made from the OpenAPI document: each is answered as the document says."""

from __future__ import annotations

import schemathesis
from hypothesis import given
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import Target, cases

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
STREAMS = "/events"
"""An endless answer is read by its own tests."""


def test_every_call_answers_as_the_document_says(target: Target) -> None:
    address = str(target.http.base_url).rstrip("/")
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [operation for operation in operations if not operation.path.endswith(STREAMS)]
    assert len(operations) >= 12
    for operation in operations:
        for mode in GenerationMode:
            share = 0.4 / len(operations) / len(GenerationMode)
            try:
                _fuzz(operation, mode, address, share)
            except Unsatisfiable:  # a call without parameters cannot be given wrong ones
                assert mode is GenerationMode.NEGATIVE


def _fuzz(
    operation: schemathesis.APIOperation, mode: GenerationMode, address: str, share: float
) -> None:
    @cases(share)
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: schemathesis.Case) -> None:
        response = case.call(base_url=address, timeout=60)
        case.validate_response(response, checks=CHECKS)

    answered()
