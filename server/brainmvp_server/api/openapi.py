"""What several routes say of themselves in the OpenAPI document, and who calls them."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from brainmvp_models.modality import Modality
from brainmvp_server.api.access import access_of
from brainmvp_server.api.problems import MEDIA_TYPE, Problem
from brainmvp_server.inference.checked_study import BRAIN

PROBLEM: dict[str, Any] = {
    "model": Problem,
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_OF_UPLOADS = (400, 408, 413, 415, 422, 429, 503, 507)
FILE = {"type": "string", "format": "binary"}
UPLOAD: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {
                    **{
                        modality.value: {
                            **FILE,
                            "description": f"The {modality.value} volume: NIfTI (.nii or .nii.gz), "
                            "or one DICOM series as a zip",
                        }
                        for modality in Modality
                    },
                    BRAIN: {
                        **FILE,
                        "description": "A brain mask to be taken instead of one that is looked "
                        "for: NIfTI, 1 inside and 0 outside, on the grid of one of the series",
                    },
                    "files": {
                        "type": "array",
                        "items": FILE,
                        "description": "Files to be identified: DICOM, NIfTI, or zips of them",
                    },
                },
            }
        },
        'multipart/related; type="application/dicom"': {"schema": FILE},
    },
}
"""A study, as parts named by modality or as files to be identified."""


def owner_of(request: Request) -> str:
    """Whose request it is; one word for each key and each token's subject."""
    caller = access_of(request.scope).caller
    return caller.owner if caller is not None else ""


def faults_of_upload(*more: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a call that brings files: those of every such call, and some of its own.

    Args:
        more: their HTTP statuses.
    """
    return dict.fromkeys(sorted({*_OF_UPLOADS, *more}), PROBLEM)
