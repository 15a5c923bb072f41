"""Every site's manifests: valid for Kubernetes, restricted, and about things that exist."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from brainmvp_clients.score.shard import COUNT
from brainmvp_server.observability.metrics import FAMILIES, JOB_STATES
from brainmvp_server.settings.table import entries
from helm_engine import Helm

from .conftest import CHART, SITES, Manifest, Render, containers, pods, values_of
from .custom_resources import SCHEMAS

KUBERNETES = ("1.29", "1.33", "1.36")
LATER = ('"successPolicy"', '"pullPolicy"')
"""Jobs have the one, volumes the other from Kubernetes 1.31 on; an older one would pass over it."""
site = pytest.mark.parametrize("site", SITES, ids=lambda path: path.stem)


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """Kubernetes' schemas are megabytes, which the validator reads anew for every manifest."""
    with pytest.MonkeyPatch.context() as patch:
        read = functools.cache(kubernetes_validate.utils.schema_contents)
        patch.setattr(kubernetes_validate.utils, "schema_contents", read)
        yield


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == kind]


@site
def test_lint_finds_nothing_but_the_missing_icon(site: Path, helm: Helm) -> None:
    report = helm.lint(CHART, values_of(site))
    assert report["errors"] == []
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


@site
def test_kubernetes_would_take_every_manifest(site: Path, render: Render) -> None:
    manifests = render(values_of(site))
    assert {"Deployment", "Service", "Pod"} <= {one["kind"] for one in manifests}
    for one in manifests:
        schema = SCHEMAS.get((one["apiVersion"], one["kind"]))
        if schema is not None:
            jsonschema.validate(one["spec"], schema)
            continue
        text = json.dumps(one, sort_keys=True)
        for version in KUBERNETES[1:] if any(word in text for word in LATER) else KUBERNETES:
            kubernetes_takes(text, version)


@functools.cache
def kubernetes_takes(text: str, version: str) -> None:
    """Strict validation of one manifest; many sites have the same ones."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def test_the_validation_would_notice(render: Render) -> None:
    """The test above is worth something: a key that is not there is found."""
    one = of_kind(render({}), "Deployment")[0]
    one["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    for version in KUBERNETES:
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(one, version, strict=True)


@site
def test_no_two_manifests_have_the_same_name(site: Path, render: Render) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in render(values_of(site))]
    assert len(set(names)) == len(names)


@site
def test_every_pod_is_restricted(site: Path, render: Render) -> None:
    """The pod security standard "restricted", and more: a read-only root, no token, an id."""
    for name, pod in pods(render(values_of(site))):
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        allowed = {"configMap", "emptyDir", "image", "persistentVolumeClaim", "secret"}
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= allowed, name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert not context.get("privileged"), name
            assert not any("hostPort" in port for port in container.get("ports", [])), name
            assert "memory" in container["resources"]["limits"], name


@site
def test_every_mount_has_its_volume_and_the_other_way_round(site: Path, render: Render) -> None:
    for name, pod in pods(render(values_of(site))):
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        mounts = {m["name"] for c in containers(pod) for m in c.get("volumeMounts", [])}
        assert mounts == volumes, name


@site
def test_every_variable_is_one_that_is_read(site: Path, render: Render) -> None:
    known = {entry.variable for entry in entries()} | {COUNT}
    known |= {f"{entry.variable}_FILE" for entry in entries() if entry.secret}
    for name, pod in pods(render(values_of(site))):
        for container in containers(pod):
            variables = [entry["name"] for entry in container.get("env", [])]
            ours = {variable for variable in variables if variable.startswith("BRAINMVP_")}
            assert ours <= known, name
            assert len(set(variables)) == len(variables), name


@site
def test_every_metric_exists(site: Path, render: Render) -> None:
    known = {sample for family in FAMILIES for sample in family.samples}
    scalers = [
        one
        for one in render(values_of(site))
        if one["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}
    ]
    for one in scalers:
        targets = re.findall(r"\bbrainmvp_\w+", json.dumps(one["spec"]))
        assert targets, "a scaler looks at a metric"
        assert set(targets) <= known
        for metric in one["spec"].get("metrics", ()):
            selector = metric.get("external", {}).get("metric", {}).get("selector", {})
            assert selector.get("matchLabels", {}).get("state", JOB_STATES[0]) in JOB_STATES


@site
def test_services_select_the_pods_they_are_for(site: Path, render: Render) -> None:
    manifests = render(values_of(site))
    made = of_kind(manifests, "Deployment") + of_kind(manifests, "StatefulSet")
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in made]
    for service in of_kind(manifests, "Service"):
        wanted = service["spec"]["selector"].items()
        assert sum(wanted <= label.items() for label in labels) == 1
    for one in made:
        wanted = one["spec"]["selector"]["matchLabels"].items()
        assert wanted <= one["spec"]["template"]["metadata"]["labels"].items()


def serving(manifests: list[Manifest], kind: str = "Deployment") -> tuple[Manifest, dict[str, Any]]:
    """The one pod of that kind, and its container's variables."""
    ((_, pod),) = [(name, pod) for name, pod in pods(manifests) if name.startswith(kind)]
    env = {e["name"]: e.get("value", e.get("valueFrom")) for e in pod["containers"][0]["env"]}
    return pod, env


def test_a_worker_is_named_by_its_pod_so_that_it_takes_up_its_own_jobs(render: Render) -> None:
    manifests = render(values_of(CHART.parents[1] / "tests/helm/values/03-split-bucket.yaml"))
    _, worker = serving(manifests, "StatefulSet")
    assert worker["BRAINMVP_ROLE"] == "worker"
    assert worker["BRAINMVP_EXECUTOR"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    _, server = serving(manifests)
    assert server["BRAINMVP_ROLE"] == "api"
    for env in (worker, server):
        assert env["BRAINMVP_JOBS_STORAGE"] == "s3://brainmvp/jobs"
        assert env["BRAINMVP_JOBS_DATABASE_FILE"] == "/etc/brainmvp/database/uri"


def test_one_pod_with_jobs_is_never_two_and_keeps_its_name(render: Render) -> None:
    values = {"jobs": {"enabled": True, "size": "1Gi"}, "autoscaling": {"hpa": {"enabled": True}}}
    manifests = render(values)
    (deployment,) = of_kind(manifests, "Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert serving(manifests)[1]["BRAINMVP_EXECUTOR"] == "demo-brainmvp"
    assert of_kind(manifests, "HorizontalPodAutoscaler") == []


@pytest.mark.parametrize(
    ("budget", "build", "period"), [(120, 0, 5), (120, 893, 10), (1, 0, 7), (60, 61, 11)]
)
def test_the_startup_probe_lasts_as_long_as_the_engines_take(
    render: Render, budget: int, build: int, period: int
) -> None:
    startup = {"budgetSeconds": budget, "engineBuildSeconds": build, "periodSeconds": period}
    pod, _ = serving(render({"startup": startup}))
    probe = pod["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] == period
    assert probe["failureThreshold"] == math.ceil((budget + build) / period)


def test_the_pod_is_not_killed_before_the_service_has_ended(render: Render) -> None:
    end = {"preStopSeconds": 7, "drainSeconds": 11, "graceSeconds": 1300}
    pod, env = serving(render({"termination": end}))
    assert pod["terminationGracePeriodSeconds"] > 7 + 11 + 1300
    assert (env["BRAINMVP_DRAIN_S"], env["BRAINMVP_GRACE_S"]) == ("11", "1300")
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "7"]


def test_a_slice_of_a_gpu_is_asked_for_by_its_own_name(render: Render) -> None:
    manifests = render(values_of(CHART.parents[1] / "tests/helm/values/08-mig-workers.yaml"))
    pod, _ = serving(manifests, "StatefulSet")
    limits = pod["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "16Gi", "nvidia.com/mig-3g.40gb": "1"}
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["containers"][0]["image"].endswith("-gpu")
    server, _ = serving(manifests)
    assert server["containers"][0]["resources"]["limits"] == {"memory": "12Gi"}
    assert server["containers"][0]["image"].endswith("-cpu")


@pytest.mark.parametrize(("engine", "kind"), [("torch", "gpu-torch"), ("tensorrt", "gpu")])
def test_the_engine_of_pytorch_has_an_image_of_its_own(
    render: Render, engine: str, kind: str
) -> None:
    pod, env = serving(
        render({"server": {"gpu": {"enabled": True}}, "settings": {"engine": engine}})
    )
    assert env["BRAINMVP_ENGINE"] == engine
    assert pod["containers"][0]["image"].endswith(f"-{kind}")


def test_settings_reach_the_pod_as_text_that_reads_back(render: Render) -> None:
    given = {
        "upload_mb": 4096, "requests": 2_000_000, "batch_wait_ms": 2.5, "warm_up": False,
        "oidc_issuer": "https://a.example.org", "oidc_audience": "b",
        "oidc_algorithms": ["RS256", "ES256"],
    }  # fmt: skip
    _, env = serving(render({"settings": given}))
    assert env["BRAINMVP_UPLOAD_MB"] == "4096"
    assert env["BRAINMVP_REQUESTS"] == "2000000"
    assert env["BRAINMVP_BATCH_WAIT_MS"] == "2.5"
    assert env["BRAINMVP_WARM_UP"] == "false"
    assert env["BRAINMVP_OIDC_ALGORITHMS"] == "RS256,ES256"


def test_nginx_takes_what_the_service_takes(render: Render) -> None:
    manifests = render(values_of(CHART.parents[1] / "tests/helm/values/12-ingress.yaml"))
    (ingress,) = of_kind(manifests, "Ingress")
    start = "nginx.ingress.kubernetes.io/"
    annotations = ingress["metadata"]["annotations"]
    assert annotations[f"{start}proxy-body-size"] == "3000m"
    assert annotations[f"{start}proxy-read-timeout"] == "1800"
    assert annotations[f"{start}proxy-send-timeout"] == "60", "the user's own wins"


def test_without_keys_the_service_answers_to_its_own_names_and_those_it_is_shown_by(
    render: Render,
) -> None:
    def told(values: dict[str, Any]) -> str | None:
        _, env = serving(render(values))
        return env.get("BRAINMVP_ALLOWED_HOSTS")

    shown = {"ingress": {"enabled": True, "hosts": ["brainmvp.example.org"]}}
    names = told({"auth": {"enabled": False}, **shown})
    assert names is not None
    assert names.split(",")[-1] == "brainmvp.example.org"
    assert any(name.endswith(".svc.cluster.local") for name in names.split(","))
    assert told(shown) is None  # with keys, to any
    own = {"settings": {"allowed_hosts": ["a.example", "*.b.example"]}, "auth": {"enabled": False}}
    assert told(own) == "a.example,*.b.example"


def test_a_path_of_the_proxy_is_the_services_own(render: Render) -> None:
    shown = {
        "ingress": {"enabled": True, "hosts": ["example.org"]},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
        "settings": {"root_path": "/brainmvp"},
    }
    manifests = render(shown)
    (ingress,) = of_kind(manifests, "Ingress")
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] == "/brainmvp"
    (route,) = of_kind(manifests, "HTTPRoute")
    assert route["spec"]["rules"][0]["matches"][0]["path"]["value"] == "/brainmvp"


def test_the_network_is_closed_but_for_what_is_named(render: Render) -> None:
    manifests = render(values_of(CHART.parents[1] / "tests/helm/values/11-locked-down.yaml"))
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "NetworkPolicy")}
    deny = policies.pop("demo-brainmvp-deny")
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny and "egress" not in deny
    assert set(policies) == {
        "demo-brainmvp-allow-release",
        "demo-brainmvp-allow-from-gateway",
        "demo-brainmvp-allow-from-prometheus",
        "demo-brainmvp-allow-to-postgresql",
        "demo-brainmvp-allow-to-issuer",
    }
    for spec in policies.values():
        for rule in spec.get("ingress", []) + spec.get("egress", []):
            assert rule.get("from") or rule.get("to"), "an empty list would mean everyone"
            assert rule["ports"]


@pytest.mark.parametrize("source", ["url", "oci"])
def test_models_are_fetched_only_by_digest(render: Render, source: str) -> None:
    digest = "sha256:" + "a" * 64
    values = {"source": source, "url": "https://a.example.org/m.tar.gz", "digest": digest}
    pod, _ = serving(render({"models": values | {"reference": f"r.example.org/m@{digest}"}}))
    (init,) = pod["initContainers"]
    assert any(digest in argument for argument in init["args"])
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "models"]
    assert mount["readOnly"] is True


def test_models_are_mounted_only_by_digest_and_with_the_secrets_to_pull_them(
    render: Render,
) -> None:
    pod, _ = serving(
        render(values_of(CHART.parents[1] / "tests/helm/values/19-models-mounted.yaml"))
    )
    assert "initContainers" not in pod
    (volume,) = [one for one in pod["volumes"] if one["name"] == "models"]
    assert re.search(r"@sha256:[0-9a-f]{64}$", volume["image"]["reference"])
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "models-registry"}]


def test_a_changed_batch_is_another_job(render: Render) -> None:
    """A Job's pod cannot be changed; an upgrade would fail."""
    batch = {"model": "m", "claim": "c", "args": ["--folder", "/studies"]}
    names = set()
    for limit in ("1", "2"):
        changed = batch | {"args": [*batch["args"], "--limit", limit]}
        names |= {o["metadata"]["name"] for o in of_kind(render({"score": {"a": changed}}), "Job")}
    assert len(names) == 2


BATCH = {"model": "m", "claim": "c", "args": ["--folder", "/studies"]}


def test_a_batch_without_shards_is_the_job_that_it_was(render: Render) -> None:
    """Its name follows from its pod: with another, an upgrade would run again what is over."""
    (job,) = of_kind(render({"score": {"a": BATCH}}), "Job")
    pod = job["spec"]["template"]["spec"]
    assert job["spec"] == {"backoffLimit": 2, "template": job["spec"]["template"]}
    assert pod["restartPolicy"] == "OnFailure" and "env" not in pod["containers"][0]
    assert pod["containers"][0]["args"] == [
        "score", "m", "--out=/out/m", "--server=http://demo-brainmvp:8000", "--resume", "--quiet",
        "--folder", "/studies",
    ]  # fmt: skip


def test_a_batch_with_shards_is_an_indexed_job_whose_pods_know_their_part(render: Render) -> None:
    """Without the count each would do every study; what is refused must not be tried for ever."""
    (job,) = of_kind(render({"score": {"a": BATCH | {"shards": 64, "parallelism": 16}}}), "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 64, 16)
    assert spec["backoffLimitPerIndex"] == 6 and "backoffLimit" not in spec
    assert pod["restartPolicy"] == "Never", "backoffLimitPerIndex is refused with any other"
    assert {"name": "BRAINMVP_SHARDS", "value": "64"} in pod["containers"][0]["env"]
    assert {"--resume", "--allow-refused"} <= set(pod["containers"][0]["args"])
    never = BATCH | {"shards": 2, "backoffLimitPerIndex": 0}
    (job,) = of_kind(render({"score": {"a": never}}), "Job")
    assert job["spec"]["backoffLimitPerIndex"] == 0


def test_another_number_of_shards_is_another_job(render: Render) -> None:
    jobs = [
        of_kind(render({"score": {"a": BATCH | {"shards": shards}}}), "Job") for shards in (2, 3)
    ]
    assert len({job["metadata"]["name"] for (job,) in jobs}) == 2


def test_a_nightly_batch_asks_for_yesterday_in_its_own_time_zone(render: Render) -> None:
    nightly = BATCH | {"schedule": "0 2 * * *", "timeZone": "Asia/Tokyo", "since": "yesterday"}
    (job,) = of_kind(render({"score": {"a": nightly | {"shards": 4}}}), "CronJob")
    spec = job["spec"]["jobTemplate"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completionMode"] == "Indexed" and "--since=yesterday" in container["args"]
    assert {"name": "TZ", "value": "Asia/Tokyo"} in container["env"]


def test_the_dashboard_is_the_one_that_is_tested(render: Render) -> None:
    (config,) = of_kind(render({"metrics": {"dashboard": {"enabled": True}}}), "ConfigMap")
    shipped = (CHART / "dashboards" / "brainmvp.json").read_text(encoding="utf-8")
    assert json.loads(config["data"]["brainmvp.json"]) == json.loads(shipped)
