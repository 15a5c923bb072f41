"""What we use of custom resources, as schemas: their operators' full ones come with no package."""

from __future__ import annotations

from typing import Any


def _closed(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


_TEXT = {"type": "string", "minLength": 1}
_WHOLE = {"type": "integer", "minimum": 0}
_WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
_KEY = _closed(name=_TEXT, key=_TEXT)

SCHEMAS: dict[tuple[str, str], dict[str, Any]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _closed(
        scaleTargetRef=_closed(apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
        minReplicaCount=_WHOLE,
        maxReplicaCount=_WHOLE,
        cooldownPeriod=_WHOLE,
        triggers=_list(
            _closed(
                ["type", "metadata"],
                type={"const": "prometheus"},
                metadata=_closed(serverAddress=_TEXT, query=_TEXT, threshold=_TEXT),
                authenticationRef=_closed(name=_TEXT),
            )
        ),
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _closed(
        selector=_closed(matchLabels=_WORDS),
        endpoints=_list(
            _closed(
                ["port", "path", "interval", "scheme"],
                port=_TEXT,
                path=_TEXT,
                interval={"pattern": "^[0-9]+(ms|s|m|h)$"},
                scheme={"enum": ["http", "https"]},
                tlsConfig=_closed(insecureSkipVerify={"type": "boolean"}),
                authorization=_closed(type=_TEXT, credentials=_KEY),
            )
        ),
    ),
    # What an expression means is for promtool: see test_alerts.py.
    ("monitoring.coreos.com/v1", "PrometheusRule"): _closed(
        groups=_list(
            _closed(
                name=_TEXT,
                rules=_list(
                    _closed(
                        ["alert", "expr", "labels", "annotations"],
                        alert=_TEXT,
                        expr=_TEXT,
                        labels=_WORDS,
                        annotations=_WORDS,
                        **{"for": {"pattern": "^[0-9]+m$"}},
                    )
                ),
            )
        ),
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _closed(
        ["parentRefs", "rules"],
        parentRefs=_list(_closed(["name"], name=_TEXT, namespace=_TEXT, sectionName=_TEXT)),
        hostnames=_list(_TEXT),
        rules=_list(
            _closed(
                matches=_list(
                    _closed(path=_closed(type={"enum": ["Exact", "PathPrefix"]}, value=_TEXT))
                ),
                # The Gateway API's own pattern of a duration.
                timeouts=_closed(request={"pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}),
                backendRefs=_list(_closed(name=_TEXT, port=_WHOLE)),
            )
        ),
    ),
}
"""The ``spec`` of each kind."""
