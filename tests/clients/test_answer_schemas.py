"""The client's models, held against the schemas of the service's OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from brainmvp_clients import answers, comparisons, served_models
from brainmvp_clients.answers import Answer
from brainmvp_clients.result_files import COMPARISON_FILES, RESULT_FILES
from brainmvp_server.api.app import create_app
from brainmvp_server.comparison import files as comparison
from brainmvp_server.results import files
from brainmvp_server.settings import Settings

SCHEMA_OF: dict[type[Answer], str] = {
    served_models.Channel: "ChannelTaken",
    served_models.Output: "OutputGiven",
    served_models.Model: "Model",
    served_models.RefusedBundle: "RefusedBundle",
    served_models.Catalogue: "Models",
    served_models.OpenWith: "OpenWith",
    answers.UndecidedOutput: "UndecidedOutput",
    answers.Engine: "EngineUsed",
    answers.RealModality: "RealModality",
    answers.FilledModality: "FilledModality",
    answers.Size: "SizeFound",
    answers.Part: "PartFound",
    answers.Structure: "StructureFound",
    answers.Score: "ScoreGiven",
    answers.Probabilities: "ProbabilitiesGiven",
    answers.Finding: "Finding",
    answers.Findings: "Findings",
    answers.ExpectedQuality: "ExpectedQuality",
    served_models.SubsetQuality: "SubsetQuality",
    answers.Population: "Population",
    answers.NotDeterminable: "Undecided",
    answers.MissingFile: "MissingFile",
    answers.MovedSeries: "MovedSeries",
    answers.PreparationDone: "PreparationDone",
    answers.Summary: "Summary",
    comparisons.VisitCompared: "VisitCompared",
    comparisons.AlignmentDone: "AlignmentDone",
    comparisons.FigureChange: "FigureChange",
    comparisons.LesionCompared: "LesionCompared",
    comparisons.StructureCompared: "StructureCompared",
    comparisons.Comparison: "ComparisonSummary",
    answers.JobProgress: "JobProgress",
    answers.JobError: "JobError",
    answers.Job: "Job",
    answers.JobList: "Jobs",
}
WITHOUT_A_MODEL = frozenset({"Modality", "Priority", "Space", "State", "Problem", "Status"})
"""Lists of words, and the problem, which is an error of the client."""
Schema = Mapping[str, Any]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    folder = tmp_path_factory.mktemp("schemas")
    settings = Settings.of(models=folder, jobs_storage=str(folder / "jobs"), role="api")
    found: Schema = create_app(settings).openapi()["components"]["schemas"]
    return found


def faults(model: type[Answer], schemas: Schema) -> list[str]:
    """What of a model does not fit its schema, each with the name of the field."""
    served = schemas[SCHEMA_OF[model]]
    ours = model.model_json_schema()
    names = {kind.__name__: name for kind, name in SCHEMA_OF.items()}
    found = [f"{name}: missing" for name in served["properties"] if name not in ours["properties"]]
    for name, field in ours["properties"].items():
        if name not in served["properties"]:
            found.append(f"{name}: not served")
            continue
        type_here = shape(field, {key: {"name": names[key]} for key in ours.get("$defs", {})})
        known = {key: value if "enum" in value else {"name": key} for key, value in schemas.items()}
        type_there = shape(served["properties"][name], known)
        required = name in ours.get("required", ())
        if required and name not in served.get("required", ()):
            found.append(f"{name}: required here, optional there")
        if not required and field.get("default", 0) is None:
            # None also says that an older server did not send it.
            type_there |= {"null"}
        if not fits(type_there, type_here):
            found.append(f"{name}: {sorted(type_here)} here, {sorted(type_there)} there")
    return found


def shape(schema: Schema, known: Schema) -> frozenset[str]:
    """The alternatives of a schema in comparable words; of an enum, each of its values."""
    if "$ref" in schema:
        return shape(known[schema["$ref"].rpartition("/")[2]], known)
    if "name" in schema:
        return frozenset({schema["name"]})
    if "anyOf" in schema:
        return frozenset[str]().union(*(shape(one, known) for one in schema["anyOf"]))
    if "enum" in schema:
        return frozenset(f"'{value}'" for value in schema["enum"])
    if "prefixItems" in schema:
        inner = (_joined(one, known) for one in schema["prefixItems"])
        return frozenset({f"({', '.join(inner)})"})
    if "items" in schema:
        return frozenset({f"[{_joined(schema['items'], known)}]"})
    if "additionalProperties" in schema:
        return frozenset({f"{{{_joined(schema['additionalProperties'], known)}}}"})
    return frozenset({f"{schema['type']} {schema.get('format', '')}".strip()})


def _joined(schema: Schema, known: Schema) -> str:
    inner = shape(schema, known)
    words = all(one.startswith("'") for one in inner)
    return "string" if words else " | ".join(sorted(inner))


def fits(there: frozenset[str], here: frozenset[str]) -> bool:
    """Whether the types are the same; a string may stand for words, as a newer server has more."""
    if "string" in here:
        there = frozenset("string" if one.startswith("'") else one for one in there)
    return there == here


@pytest.mark.parametrize("model", SCHEMA_OF, ids=lambda model: model.__name__)
def test_a_model_has_every_field_that_is_served_with_its_type(
    model: type[Answer], schemas: Schema
) -> None:
    assert faults(model, schemas) == []


def test_every_model_and_every_schema_stands_in_the_table(schemas: Schema) -> None:
    models = {
        kind
        for module in (answers, comparisons, served_models)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Answer) and kind is not Answer
    }
    assert models == set(SCHEMA_OF)
    assert set(schemas) - WITHOUT_A_MODEL == set(SCHEMA_OF.values())


@pytest.mark.parametrize("model", SCHEMA_OF, ids=lambda model: model.__name__)
def test_no_model_refuses_a_key_that_a_newer_server_adds(model: type[Answer]) -> None:
    assert model.model_config["extra"] == "ignore"


@pytest.mark.parametrize(
    ("field", "schema", "fault"),
    [
        ("added", {"type": "string"}, "added: missing"),
        ("components", {"type": "string"}, "components: ['integer'] here, ['string'] there"),
        (
            "voxels",
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "voxels: ['integer'] here, ['integer', 'null'] there",
        ),
    ],
    ids=["missing", "type", "null"],
)
def test_a_difference_is_found_and_named(
    schemas: Schema, field: str, schema: Schema, fault: str
) -> None:
    served = schemas["StructureFound"]
    changed = {**served, "properties": {**served["properties"], field: schema}}
    assert faults(answers.Structure, {**schemas, "StructureFound": changed}) == [fault]


def test_a_field_that_a_server_may_leave_out_is_not_required(schemas: Schema) -> None:
    served = schemas["StructureFound"]
    left = [name for name in served["required"] if name != "voxels"]
    found = faults(answers.Structure, {**schemas, "StructureFound": {**served, "required": left}})
    assert found == ["voxels: required here, optional there"]


def test_every_file_of_a_result_that_the_service_sends_is_taken() -> None:
    """A client refuses a zip that holds anything else."""
    sent = {files.MASK, files.SUMMARY, files.PREVIEW, files.REPORT, files.PREPARATION}
    assert sent == RESULT_FILES
    compared = {comparison.SUMMARY, comparison.PICTURE, comparison.REPORT}
    assert compared == COMPARISON_FILES
