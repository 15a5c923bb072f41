"""What viewers are told, and what they ask, in MONAI Label's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainmvp_models import __version__
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import UnknownModality
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.task import ClassOutputs, FillPolicy, Outputs, RegionOutputs
from brainmvp_server.api.problems import InvalidQuery

BACKGROUND = "background"
Extension = Literal[".nrrd", ".nii", ".nii.gz"]


class ModelInfo(BaseModel):
    """One model as viewers list it; those of type ``segmentation`` get a button."""

    type: Literal["segmentation", "classification"]
    labels: dict[str, int] = Field(description="Values of the mask by name; 0 is background.")
    dimension: int = 3
    description: str
    version: str
    config: dict[str, Any] = {}


class AppInfo(BaseModel):
    """What ``GET /info/`` answers; what we have none of is empty."""

    name: str = "BrainMVP Server"
    description: str = "Brain-MRI segmentation from any subset of a study's modalities"
    version: str = __version__
    labels: list[str] = Field(description="Of all models, the background first.")
    models: dict[str, ModelInfo]
    trainers: dict[str, Any] = {}
    strategies: dict[str, Any] = {}
    scoring: dict[str, Any] = {}
    train_stats: dict[str, Any] = {}
    datastore: dict[str, Any] = {}

    @classmethod
    def of(cls, bundles: Mapping[str, Bundle]) -> AppInfo:
        """Of the models that are served, by name."""
        models = {name: _model(bundle) for name, bundle in bundles.items()}
        labels = [BACKGROUND, *(label for model in models.values() for label in model.labels)]
        return cls(labels=list(dict.fromkeys(labels)), models=models)


class SessionInfo(BaseModel):
    """How long a session lives."""

    name: str
    expiry: int = Field(description="Seconds from its last use.")


class SessionAnswer(BaseModel):
    """What a new session is called."""

    session_id: str
    session_info: SessionInfo


class Auth(BaseModel):
    """Whether keys are asked for."""

    enabled: bool


class Token(BaseModel):
    """What a viewer sends from then on."""

    access_token: str | None
    token_type: str | None


class ImageAdded(BaseModel):
    """What an image is called that was sent."""

    image: str


class _Params(BaseModel):
    """The part ``params``: ours, theirs, and whatever else a viewer keeps in it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    result_extension: Extension = ".nii.gz"
    result_dtype: Literal["uint8", "uint16", "int16", "int32"] = "uint16"
    result_compress: bool = True
    fill: FillPolicy | None = None
    modality: str | None = None


@dataclass(frozen=True)
class InferAsked:
    """How a result is wanted.

    Attributes:
        extension, dtype, compress: of the mask's file; ``compress`` is for NRRD.
        fill: how missing modalities are filled; None for what the bundle says.
        modality: what a single file is; None where its name has to say it.
    """

    extension: Extension
    dtype: str
    compress: bool
    fill: FillPolicy | None
    modality: Modality | None

    @classmethod
    def of(cls, text: str) -> InferAsked:
        """Of the part ``params``, JSON.

        Raises:
            InvalidQuery: it is none, or one of its values is not known.
            UnknownModality: ``modality`` is none.
        """
        try:
            params = _Params.model_validate(json.loads(text or "{}"))
        except (ValueError, RecursionError) as error:
            raise InvalidQuery(
                f"the part params is not what it should be: {_first(error)}",
                remedy='Send a JSON object, such as {"result_extension": ".nrrd"}',
                subject="params",
            ) from None
        given = params.modality
        try:
            modality = None if given is None else parse_modality(given)
        except UnknownModality as error:
            raise UnknownModality(error.problem, remedy=error.remedy, subject="params") from None
        return cls(
            params.result_extension,
            params.result_dtype,
            params.result_compress,
            params.fill,
            modality,
        )


def labels_of(outputs: Outputs) -> dict[str, int]:
    """The values of a mask by name, the background's first; of a classifier, none."""
    if isinstance(outputs, RegionOutputs):
        return {BACKGROUND: 0} | {label.name: label.value for label in outputs.labels}
    if isinstance(outputs, ClassOutputs):
        own = {label.name: label.value for label in outputs.classes[1:]}
        return {BACKGROUND: 0} | own
    return {}


def _model(bundle: Bundle) -> ModelInfo:
    task, manifest = bundle.task, bundle.manifest
    takes = ", ".join(modality.value for modality in task.modalities)
    return ModelInfo(
        type="classification" if task.kind == "classification" else "segmentation",
        labels=labels_of(task.outputs),
        description=f"{task.title}. Takes any of: {takes}",
        version=manifest.version,
    )


def _first(error: Exception) -> str:
    """What is wrong, without the value: it may be anything."""
    if isinstance(error, ValidationError):
        found = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(map(str, found['loc'])) or 'it'}: {found['msg']}"
    return "it is not JSON"
