"""Values that cannot be meant are refused at install, with a message that says where."""

from __future__ import annotations

from typing import Any

import pytest

from helm_engine import Helm, Refused, ValuesRefused

from .conftest import CHART, Render

DIGEST = "sha256:" + "a" * 64
SPLIT = {"enabled": True, "claim": "jobs", "database": {"secret": "postgresql"}}

BATCH = {"model": "m", "claim": "c", "args": ["--folder", "/studies"]}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 2}, "replicas"),
    ({"server": {"replicas": -1}}, "/server/replicas"),
    ({"server": {"replicas": "two"}}, "/server/replicas"),
    ({"server": {"gpu": {"count": 0}}}, "/server/gpu/count"),
    ({"server": {"gpu": {"resourceName": "gpu"}}}, "/server/gpu/resourceName"),
    ({"server": {"resources": {"limit": {"memory": "1Gi"}}}}, "/server/resources"),
    ({"server": {"extraEnv": [{"value": "x"}]}}, "/server/extraEnv/0"),
    ({"worker": {"tolerations": "all"}}, "/worker/tolerations"),
    ({"mode": "cluster"}, "/mode"),
    ({"settings": {"upload_mbs": 1}}, "/settings"),
    ({"settings": {"upload_mb": 0}}, "/settings/upload_mb"),
    ({"settings": {"port": 1}}, "/settings"),
    ({"settings": {"jobs_database": "postgresql://u:p@h/d"}}, "/settings"),
    ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"models": {"source": "url", "url": "https://a/b"}}, "/models/digest"),
    ({"models": {"source": "url", "url": "ftp://a/b", "digest": DIGEST}}, "/models/url"),
    ({"models": {"source": "oci", "reference": "a/b:latest"}}, "/models/reference"),
    ({"models": {"source": "image", "reference": "a/b:latest"}}, "/models/reference"),
    ({"models": {"source": "image"}}, "/models/reference"),
    ({"models": {"claim": ""}}, "/models/claim"),
    ({"jobs": {"enabled": True, "size": "lots"}}, "/jobs/size"),
    ({"jobs": {"enabled": True, "size": "1Gi"}, "server": {"replicas": 2}}, "/server/replicas"),
    ({"mode": "split"}, "/jobs"),
    ({"mode": "split", "jobs": {"enabled": True, "claim": "a"}}, "/jobs/database/secret"),
    ({"startup": {"periodSeconds": 0}}, "/startup/periodSeconds"),
    ({"service": {"port": 80}}, "/service/port"),
    ({"scratch": {"medium": "RAM"}}, "/scratch/medium"),
    ({"ingress": {"enabled": True}}, "/ingress/hosts"),
    ({"httpRoute": {"enabled": True}}, "/httpRoute/parentRefs"),
    ({"networkPolicy": {"ingress": {"all": []}}}, "/networkPolicy/ingress/all"),
    ({"networkPolicy": {"egress": {"db": {"to": [{"ipBlock": {}}]}}}}, "/networkPolicy/egress/db"),
    ({"score": {"a": {"model": "m", "args": ["--folder", "/x"]}}}, "/score/a"),
    ({"score": {"Nightly": {}}}, "Nightly"),
    ({"score": {"a": BATCH | {"shards": 0}}}, "/score/a/shards"),
    ({"score": {"a": BATCH | {"shards": "64"}}}, "/score/a/shards"),
    ({"score": {"a": BATCH | {"parallelism": 4}}}, "/score/a"),
    ({"score": {"a": BATCH | {"shard": 4}}}, "/score/a"),
    ({"score": {"a": BATCH | {"since": "last week"}}}, "/score/a/since"),
    ({"exportJob": {"enabled": True}}, "/exportJob"),
    ({"engineJob": {"enabled": True, "claim": "checkpoints"}}, "/engineJob"),
    ({"autoscaling": {"keda": {"enabled": True}}}, "/mode"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "place"), WRONG, ids=lambda case: str(case)[:60])
def test_a_wrong_value_is_refused_by_its_place(
    helm: Helm, values: dict[str, Any], place: str
) -> None:
    with pytest.raises(ValuesRefused) as caught:
        helm.validate(CHART, values)
    assert place in str(caught.value)


def test_two_autoscalers_of_the_same_pods_are_refused(helm: Helm) -> None:
    both = {"hpa": {"enabled": True}, "keda": {"enabled": True}}
    for one in both:
        helm.validate(CHART, {"mode": "split", "jobs": SPLIT, "autoscaling": {one: both[one]}})
    with pytest.raises(ValuesRefused, match="/autoscaling"):
        helm.validate(CHART, {"mode": "split", "jobs": SPLIT, "autoscaling": both})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"auth": {"keysSecret": ""}}, "Nobody could call the service"),
        ({"jobs": {"enabled": True}}, "Jobs need a place"),
        (
            {"jobs": {"enabled": True, "url": "s3://bucket/jobs"}},
            "A bucket cannot hold the jobs' database",
        ),
        (
            {"score": {"a": BATCH | {"shards": 2, "succeededShards": 3}}},
            "succeededShards is more than there are shards",
        ),
    ],
)
def test_what_belongs_together_is_asked_for_in_words(
    render: Render, values: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        render(values)
