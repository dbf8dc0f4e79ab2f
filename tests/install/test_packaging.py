"""Chart and kustomizations come from the packaged manifests, and Kubernetes' schemas have all of it."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import jsonschema
import pytest
import yaml
from tests.acceptance.cluster import kubectl_path
from tests.install.rendering import (
    CHART,
    KUSTOMIZE,
    MINORS,
    ROOT,
    Json,
    by_name,
    check,
    documents,
    helm,
    kustomize,
    template,
)

from aliquot import __version__, manifests
from aliquot.install.objects import IMAGE, Gates, Options, gates_of, wanted

#: What the API server of a cluster has schemas for only through custom resource definitions.
FOREIGN = ("ServiceMonitor", "PrometheusRule")


def plain(minor: int = 36, **options: object) -> list[Json]:
    return list(wanted(Options(minor=minor, gates=gates_of(minor), **options)))  # type: ignore[arg-type]


def without_keep(objects: list[Json]) -> list[Json]:
    """Helm alone must be told that custom resources outlive a release."""
    found = copy.deepcopy(objects)
    for one in found:
        annotations = one["metadata"].get("annotations") or {}
        if one["kind"] == "CustomResourceDefinition":
            assert annotations.pop("helm.sh/resource-policy") == "keep"
            if not annotations:
                one["metadata"].pop("annotations")
    return found


def test_what_is_generated_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "generate.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, f"run `python deploy/generate.py`:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("minor", MINORS)
def test_the_chart_with_default_values_is_the_plain_manifests(minor: int) -> None:
    rendered = by_name(without_keep(template(minor, "--set", "namespace.create=true")))
    assert rendered == by_name(plain(minor))


def test_helm_itself_makes_the_namespace() -> None:
    kinds = [one["kind"] for one in template()]
    assert "Namespace" not in kinds
    assert "Deployment" in kinds


def test_a_release_in_another_namespace_installs_in_aliquots_own() -> None:
    text = helm("template", "a", str(CHART), "-n", "elsewhere", "--kube-version", "1.36.0")
    assert {one["metadata"].get("namespace", manifests.NAMESPACE) for one in documents(text)} == {
        manifests.NAMESPACE
    }
    assert "Namespace" in text


def test_the_chart_passes_lint() -> None:
    assert "0 chart(s) failed" in helm("lint", str(CHART))
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), "--kube-version", "1.34.0")


def test_the_chart_refuses_older_clusters_and_values_that_it_does_not_know() -> None:
    refused = helm("template", "a", str(CHART), "--kube-version", "1.33.0", ok=False)
    assert "requires kubeVersion: >=1.34.0" in refused
    refused = helm("template", "a", str(CHART), "--kube-version", "1.36.0", "--set", "replica=3", ok=False)
    assert "replica" in refused


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (("ledger.address=postgresql://aliquot:secret@db/ledger",), "ledger.address: Does not match pattern"),
        (("ledger.address=postgresql://db/ledger?password=secret",), "ledger.address: Must not validate"),
        (("podAnnotations.a=1",), "podAnnotations.a: Invalid type. Expected: string"),
        (("nodeSelector.a=true",), "nodeSelector.a: Invalid type. Expected: string"),
        (("automation.idle.dryRun=true",), "automation: nobody knows how devices are used; set prometheus"),
    ],
)
def test_the_chart_refuses_what_the_cluster_or_the_controller_would(
    values: tuple[str, ...], problem: str
) -> None:
    given = [word for value in values for word in ("--set", value)]
    refused = helm("template", "a", str(CHART), "--kube-version", "1.36.0", *given, ok=False)
    assert problem in refused


KUSTOMIZATIONS = {
    "default": Options(),
    "before-1.36": Options(gates=Gates.V1BETA1),
    "without-gates": Options(gates=Gates.NONE),
    "monitoring": Options(monitoring=True),
    "automation": Options(automation=True),
    "cluster-only": Options(deployment=False),
}


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_kustomizations_are_the_plain_manifests(name: str) -> None:
    assert by_name(kustomize(name, kubectl_path())) == by_name(list(wanted(KUSTOMIZATIONS[name])))


def test_every_kustomization_is_compared() -> None:
    assert {path.parent.name for path in KUSTOMIZE.glob("*/kustomization.yaml")} == set(KUSTOMIZATIONS)


def test_policies_come_before_the_controller_and_gates_last() -> None:
    for objects in (kustomize("cluster-only", kubectl_path()), plain()):
        kinds = [one["kind"] for one in objects]
        last_parameter = max(index for index, kind in enumerate(kinds) if kind == "ConfigMap")
        assert kinds[0] == "Namespace"
        assert kinds.index("CustomResourceDefinition") < last_parameter
        if "Deployment" in kinds:
            assert kinds.index("ValidatingAdmissionPolicyBinding") < kinds.index("Deployment")
            assert kinds.index("Deployment") < kinds.index("MutatingAdmissionPolicy")


CHOSEN = (
    *("--set", "monitoring.serviceMonitor.enabled=true", "--set", "monitoring.dashboard.enabled=true"),
    *("--set", "monitoring.rules.enabled=true", "--set", "namespace.create=true"),
    *("--set", "image.repository=example.com/aliquot", "--set", "image.pullPolicy=Always"),
    *("--set", "priorityClassName=p", "--set", "nodeSelector.a=b", "--set", "podAnnotations.a=b"),
    *("--set-json", 'tolerations=[{"key":"a","operator":"Exists"}]'),
    *("--set-json", 'drivers={"a.example":""}', "--set", "policy.defaultQueue=q"),
    *("--set-json", 'extraEnv=[{"name":"A","value":"b"}]', "--set-json", 'extraArgs=["--lease-seconds=30"]'),
    *("--set", "prometheus=http://prometheus.monitoring:9090", "--set", "prices.currency=EUR"),
    *("--set-json", 'automation={"idle":{"rules":[{"dryRun":false}]}}'),
    *("--set", "ledger.address=postgresql://aliquot@db/ledger"),
    *("--set", "ledger.passwordSecret.name=db", "--set", "ledger.passwordSecret.key=password"),
    *("--set-json", 'networkPolicy.egress=[{"ports":[{"port":9090}]}]'),
    *("--set-json", 'networkPolicy.metricsFrom=[{"namespaceSelector":{}}]'),
    *("--set-json", 'journal={"hostPath":{"path":"/a"}}', "--set-json", 'imagePullSecrets=[{"name":"a"}]'),
)
"""Every value that changes what is rendered."""


def everything(minor: int) -> Iterator[Json]:
    """What can be rendered for a version, one way or another; each object once."""
    seen = set()
    for one in (*template(minor, *CHOSEN), *template(minor), *plain(minor, monitoring=True)):
        text = json.dumps(one, sort_keys=True)
        if text not in seen:
            seen.add(text)
            yield one


@pytest.mark.parametrize("minor", MINORS)
def test_schemas_of_kubernetes_have_every_rendered_object(minor: int) -> None:
    seen = set()
    for one in everything(minor):
        if one["kind"] not in FOREIGN:
            check(one, minor)
        seen.add(one["kind"])
    assert {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "CustomResourceDefinition"} <= seen
    assert ("MutatingAdmissionPolicy" in seen) is (minor >= 36)


@pytest.mark.parametrize("minor", [34, 35])
def test_older_versions_serve_gates_as_v1beta1_where_they_are_switched_on(minor: int) -> None:
    objects = template(minor, "--set", "gates=v1beta1")
    mutating = [one for one in objects if one["kind"].startswith("Mutating")]
    assert {one["apiVersion"] for one in mutating} == {"admissionregistration.k8s.io/v1beta1"}
    for one in mutating:
        check(one, minor)
    found = template(minor, "--api-versions", "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy")
    assert [one for one in found if one["kind"].startswith("Mutating")] == mutating


def test_values_reach_the_controller() -> None:
    objects = by_name(template(36, *CHOSEN))
    deployment = objects["Deployment", "aliquot-system", "aliquot-controller"]
    pod = deployment["spec"]["template"]["spec"]
    main, first = pod["containers"][0], pod["initContainers"][0]
    assert main["image"] == first["image"] == f"example.com/aliquot:{__version__}"
    assert main["imagePullPolicy"] == first["imagePullPolicy"] == "Always"
    assert main["args"][-1] == "--lease-seconds=30"
    assert main["args"][-5:-1] == [
        "--prometheus=http://prometheus.monitoring:9090",
        "--ledger=postgresql://aliquot@db/ledger",
        "--prices=/etc/aliquot/prices.yaml",
        "--automation=/etc/aliquot/automation.yaml",
    ]
    assert ("ClusterRole", "", "aliquot-automation") in objects
    secret = {"secretKeyRef": {"name": "db", "key": "password"}}
    assert main["env"] == [{"name": "PGPASSWORD", "valueFrom": secret}, {"name": "A", "value": "b"}]
    assert pod["tolerations"] == [{"key": "a", "operator": "Exists"}]
    assert pod["nodeSelector"] == {"a": "b"}
    assert pod["priorityClassName"] == "p"
    assert pod["imagePullSecrets"] == [{"name": "a"}]
    assert pod["volumes"][0] == {"name": "journal", "hostPath": {"path": "/a"}}
    assert [one["name"] for one in pod["volumes"]] == ["journal", "policy", "tmp"]
    assert objects["ConfigMap", "aliquot-system", "aliquot-drivers"]["data"] == {"a.example": ""}
    files = objects["ConfigMap", "aliquot-system", "aliquot-policy"]["data"]
    assert {name: yaml.safe_load(text) for name, text in files.items()} == {
        "policy.yaml": {"defaultQueue": "q"},
        "prices.yaml": {"currency": "EUR"},
        "automation.yaml": {"idle": {"rules": [{"dryRun": False}]}},
    }
    network = objects["NetworkPolicy", "aliquot-system", "aliquot-controller"]
    assert network["spec"]["ingress"][0]["from"] == [{"namespaceSelector": {}}]
    assert network["spec"]["egress"][-1] == {"ports": [{"port": 9090}]}


def test_a_digest_goes_before_a_tag() -> None:
    digest = "sha256:" + "0" * 64
    objects = by_name(template(36, "--set", f"image.digest={digest}", "--set", "image.tag=x"))
    deployment = objects["Deployment", "aliquot-system", "aliquot-controller"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == f"aliquot@{digest}"


def test_one_version_everywhere() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    texts = [manifests.text(name, manifests.DEPLOYMENT) for name in manifests.names(manifests.DEPLOYMENT)]
    assert set(re.findall(r"image: (\S+)", "".join(texts))) == {IMAGE}


def test_the_controller_runs_with_as_little_as_it_needs() -> None:
    (deployment,) = (one for one in plain() if one["kind"] == "Deployment")
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    assert spec["replicas"] == 2
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in (*pod["initContainers"], *pod["containers"]):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= set(container["resources"])
    main = pod["containers"][0]
    assert main["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert main["livenessProbe"]["httpGet"]["path"] == "/healthz"
    ports = {one["name"]: one["containerPort"] for one in main["ports"]}
    assert f"--metrics-bind-address=:{ports['metrics']}" in main["args"]
    assert f"--health-probe-bind-address=:{ports['probes']}" in main["args"]
    (web,) = (one for one in main["args"] if one.startswith("--web="))
    assert web.startswith("--web=127.0.0.1:"), "the page has no login"


def test_the_arguments_of_the_deployment_are_options_of_the_commands() -> None:
    from aliquot.cli.main import cli

    (deployment,) = (one for one in plain() if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        name, *options = container["args"]
        command = cli.get_command(None, name)  # type: ignore[arg-type, attr-defined]
        known = {flag for option in command.params for flag in option.opts}
        assert {option.partition("=")[0] for option in options} <= known


def test_labels_select_the_controllers_pods_everywhere() -> None:
    objects = by_name(plain(monitoring=True))
    labels = objects["Deployment", "aliquot-system", "aliquot-controller"]["spec"]["template"]["metadata"][
        "labels"
    ]
    selectors = [
        objects["Service", "aliquot-system", "aliquot-metrics"]["spec"]["selector"],
        objects["PodDisruptionBudget", "aliquot-system", "aliquot-controller"]["spec"]["selector"][
            "matchLabels"
        ],
        objects["NetworkPolicy", "aliquot-system", "aliquot-controller"]["spec"]["podSelector"][
            "matchLabels"
        ],
        objects["Deployment", "aliquot-system", "aliquot-controller"]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    monitor = objects["ServiceMonitor", "aliquot-system", "aliquot-controller"]["spec"]["selector"][
        "matchLabels"
    ]
    assert (
        monitor.items()
        <= objects["Service", "aliquot-system", "aliquot-metrics"]["metadata"]["labels"].items()
    )


def test_everything_carries_the_label_by_which_it_is_found_again() -> None:
    for one in plain(monitoring=True):
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "aliquot", one["metadata"]["name"]


def test_examples_fit_the_schemas_of_custom_resources() -> None:
    schemas = {
        (one["spec"]["group"] + "/" + version["name"], one["spec"]["names"]["kind"]): version["schema"]
        for one in plain()
        if one["kind"] == "CustomResourceDefinition"
        for version in one["spec"]["versions"]
    }
    checked = set()
    for path in sorted((ROOT / "examples").rglob("*.yaml")):
        for document in documents(path.read_text()):
            schema = schemas.get((document.get("apiVersion"), document.get("kind")))
            if schema is not None:
                jsonschema.validate(document, _closed(schema["openAPIV3Schema"]))
                checked.add(document["kind"])
    assert "Queue" in checked


def _closed(schema: Json) -> Json:
    """The schema with unknown fields refused, as a server prunes them."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if "properties" in schema:
        found["properties"] = {key: _closed(value) for key, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found["additionalProperties"] = False
    if isinstance(schema.get("items"), dict):
        found["items"] = _closed(schema["items"])
    if schema.get("type") == "object" and "properties" not in schema:
        found.pop("additionalProperties", None)
    return found


@pytest.mark.parametrize(
    "document",
    [one for one in manifests.load() if one["kind"] == "CustomResourceDefinition"],
    ids=lambda one: one["metadata"]["name"],
)
def test_custom_resources_describe_every_field(document: Json) -> None:
    for version in document["spec"]["versions"]:
        assert version.get("additionalPrinterColumns"), "columns for kubectl get"
        missing = list(_undescribed(version["schema"]["openAPIV3Schema"], ""))
        assert missing == []


def _undescribed(schema: Json, path: str) -> Iterator[str]:
    for name, field in (schema.get("properties") or {}).items():
        where = f"{path}.{name}"
        if not field.get("description") and where != ".metadata":
            yield where
        yield from _undescribed(field, where)
    if isinstance(schema.get("items"), dict):
        yield from _undescribed(schema["items"], f"{path}[]")
