"""What Kubernetes lets nobody change of an object that is there.

By the validation of updates in Kubernetes (pkg/apis/{apps,batch,core}/validation): an upgrade that
changes one of these is refused as a whole.
"""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]
Fixed = dict[str, Any]

_CHANGEABLE = {
    "StatefulSet": {
        "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
    },
    "Job": {
        "parallelism", "suspend", "activeDeadlineSeconds", "backoffLimit", "maxFailedIndexes",
        "ttlSecondsAfterFinished",
    },
    "PersistentVolumeClaim": {"resources", "volumeAttributesClassName"},
}  # fmt: skip
"""Of kinds whose specification is fixed but for these."""
_FIXED = {"Deployment": {"selector"}, "DaemonSet": {"selector"}}
"""Of kinds whose specification may change but for these."""
LASTING = {"Deployment", "StatefulSet", "Service", "PersistentVolumeClaim"}
"""Kinds that lose something when their names change: requests, begun jobs, data."""


def immutable_fields(manifests: list[Manifest]) -> dict[str, Fixed]:
    """What is fixed of each object, by ``Kind/name``."""
    return {f"{one['kind']}/{one['metadata']['name']}": _fixed(one) for one in manifests}


def refused(before: dict[str, Fixed], after: dict[str, Fixed]) -> list[str]:
    """Why Kubernetes would refuse to make ``after`` of ``before``, or something would be lost."""
    faults = [
        f"{name}: {field}"
        for name, fixed in before.items()
        if name in after
        for field in sorted(fixed.keys() | after[name].keys())
        if fixed.get(field) != after[name].get(field)
    ]
    gone = [name for name in before if name.split("/")[0] in LASTING and name not in after]
    return [*faults, *(f"{name} is gone" for name in gone)]


def _fixed(one: Manifest) -> Fixed:
    kind, spec = one["kind"], one.get("spec", {})
    if kind in _CHANGEABLE:
        return {field: value for field, value in spec.items() if field not in _CHANGEABLE[kind]}
    if kind == "Service":
        return {"headless": spec.get("clusterIP") == "None"}
    return {field: spec.get(field) for field in sorted(_FIXED.get(kind, ()))}
