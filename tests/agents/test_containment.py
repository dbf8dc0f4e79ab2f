"""What a tenant is kept in, and that an API server holds it there."""

import copy
from typing import Any

import pytest
import yaml
from tests.approvals.admission import Object, Server

from aliquot import manifests
from aliquot.agents.containment import contain
from aliquot.agents.guards import Limits
from aliquot.agents.tenant import parse
from aliquot.embedded.hooks import User
from aliquot.embedded.status import StatusError
from aliquot.model.kinds import ObjectError

SPEC: Object = {
    "isolation": "Sandbox",
    "agents": [{"name": "coder"}, {"name": "reviewer", "guards": {"callsPerMinute": 5}}],
    "guards": {"callsPerMinute": 60, "spendPerTask": "2.50", "depth": 2, "repeats": 3},
    "gateway": {"url": "http://10.96.0.20:8088/v1"},
    "quota": {"requests.cpu": "8", "pods": 20},
    "queue": {"parent": "agents", "gpuQuota": 0, "gpuLimit": 2},
    "budget": {"parent": "company", "limits": [{"measure": "money", "amount": "20", "per": "day"}]},
}
MACHINES: Object = {
    **SPEC,
    "isolation": "VirtualMachine",
    "virtualMachine": {"image": "registry.example/vm:1", "memory": "8Gi", "replicas": 2},
    "devices": {"mode": "Passthrough", "deviceClassName": "vfio.gpu.nvidia.com", "count": 1},
}


def tenant(spec: Object = SPEC, **changes: Any) -> Object:
    return {
        "apiVersion": "aliquot.dev/v1alpha1",
        "kind": "Tenant",
        "metadata": {"name": "lab"},
        "spec": copy.deepcopy({**spec, **changes}),
    }


def contained(document: Object) -> dict[str, Object]:
    """The objects by kind and name."""
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in contain(parse(document))}


def test_one_declaration_makes_everything_that_contains() -> None:
    assert list(contained(tenant())) == [
        "Namespace/lab",
        "RuntimeClass/gvisor",
        "NetworkPolicy/deny-everything",
        "NetworkPolicy/gateway-only",
        "ResourceQuota/tenant",
        "LimitRange/tenant",
        "ServiceAccount/coder",
        "ServiceAccount/reviewer",
        "ServiceAccount/default",
        "ConfigMap/aliquot-gateway",
        "Queue/lab",
        "TokenBudget/lab",
    ]


def test_the_gateway_is_the_only_way_out() -> None:
    objects = contained(tenant())

    assert objects["NetworkPolicy/deny-everything"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    assert objects["NetworkPolicy/gateway-only"]["spec"]["egress"] == [
        {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "aliquot-system"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "aliquot-gateway"}},
                }
            ],
            "ports": [{"protocol": "TCP", "port": 8088}],
        }
    ]
    with_dns = contained(tenant(dns=True))["NetworkPolicy/gateway-only"]["spec"]["egress"]
    assert [port["port"] for port in with_dns[1]["ports"]] == [53, 53]


@pytest.mark.parametrize(
    ("isolation", "runtime_class"),
    [("None", None), ("Sandbox", ("gvisor", "runsc")), ("VirtualMachine", ("kata", "kata"))],
)
def test_isolation_chooses_the_runtime_class(isolation: str, runtime_class: tuple[str, str] | None) -> None:
    objects = contained(tenant(isolation=isolation))
    labels = objects["Namespace/lab"]["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["aliquot.dev/isolation"] == isolation
    if runtime_class is None:
        assert "aliquot.dev/runtime-class" not in labels
    else:
        assert labels["aliquot.dev/runtime-class"] == runtime_class[0]
        assert objects[f"RuntimeClass/{runtime_class[0]}"]["handler"] == runtime_class[1]


def test_machines_get_devices_by_claim_or_by_name() -> None:
    objects = contained(tenant(MACHINES))
    machine = objects["VirtualMachine/lab-1"]["spec"]["template"]["spec"]

    template = objects["ResourceClaimTemplate/devices"]["spec"]["spec"]["devices"]["requests"][0]
    assert template["exactly"] == {"deviceClassName": "vfio.gpu.nvidia.com", "count": 1}
    assert machine["resourceClaims"] == [{"name": "devices", "resourceClaimTemplateName": "devices"}]
    assert machine["domain"]["devices"]["gpus"] == [
        {"name": "gpu", "claimName": "devices", "requestName": "gpu"}
    ]
    assert not any(name.startswith("RuntimeClass") for name in objects)

    devices = {"mode": "VGPU", "deviceName": "nvidia.com/GRID_A100-10C", "count": 2}
    named = contained(tenant(MACHINES, devices=devices))
    machine = named["VirtualMachine/lab-0"]["spec"]["template"]["spec"]
    assert [gpu["deviceName"] for gpu in machine["domain"]["devices"]["gpus"]] == [
        "nvidia.com/GRID_A100-10C"
    ] * 2


def test_agents_have_limits_of_their_own_or_the_tenants() -> None:
    found = parse(tenant()).guard_limits()

    assert found["lab/reviewer"] == Limits(calls_per_minute=5)
    assert found["lab/coder"] == Limits(calls_per_minute=60, spend_per_task=2_500_000, depth=2, repeats=3)


@pytest.mark.parametrize(
    ("spec", "changes", "path"),
    [
        (SPEC, {"isolation": "Wall"}, "spec.isolation"),
        (SPEC, {"virtualMachine": {"image": "x", "memory": "1Gi"}}, "spec.isolation"),
        (SPEC, {"devices": {"mode": "VGPU", "deviceName": "x"}}, "spec.devices.mode"),
        (MACHINES, {"devices": {"mode": "VGPU"}}, "spec.devices"),
        (SPEC, {"gateway": {}}, "spec.gateway.url"),
        (SPEC, {"guards": {"spendPerTask": "a lot"}}, "spec.guards.spendPerTask"),
    ],
)
def test_a_declaration_that_contains_nothing_is_refused_with_its_field(
    spec: Object, changes: Object, path: str
) -> None:
    with pytest.raises(ObjectError) as refused:
        parse(tenant(spec, **changes))
    assert refused.value.path == path


@pytest.fixture(scope="module")
def server() -> Server:
    """A cluster that contains the tenants `lab` (sandboxed) and `vms` (machines)."""
    made = Server()
    for document in (tenant(), {**tenant(MACHINES), "metadata": {"name": "vms"}}):
        stored = made.create(document)
        for one in contain(parse(stored)):
            resource = made.registry.resources.find_kind(one["apiVersion"], one["kind"])
            if resource is not None:
                made.create(one)
    return made


def pod(namespace: str, labels: Object | None = None, **spec: Any) -> Object:
    containers = [{"name": "c", "image": "agent"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace, "labels": labels or {}},
        "spec": {"containers": containers, **spec},
    }


def refusal(server: Server, document: Object, user: str = "someone") -> str:
    resource = server.registry.resources.find_kind(document["apiVersion"], document["kind"])
    assert resource is not None
    try:
        server.registry.create(
            resource, document["metadata"]["namespace"], document, User(user), dry_run=True
        )
    except StatusError as error:
        return error.message
    return ""


def test_a_tenant_is_admitted_as_the_schema_says(server: Server) -> None:
    with pytest.raises(StatusError, match="virtualMachine needs the isolation"):
        server.create({**tenant(SPEC, virtualMachine=MACHINES["virtualMachine"]), "metadata": {"name": "no"}})
    with pytest.raises(StatusError, match="mode Claim"):
        server.create(
            {**tenant(SPEC, devices={"mode": "VGPU", "deviceName": "x"}), "metadata": {"name": "no"}}
        )


@pytest.mark.parametrize(
    ("document", "user", "word"),
    [
        (pod("lab"), "someone", "spec.runtimeClassName: gvisor"),
        (pod("lab", runtimeClassName="runc"), "someone", "spec.runtimeClassName: gvisor"),
        (pod("lab", {"aliquot.dev/queue": "rich"}, runtimeClassName="gvisor"), "someone", "its queue lab"),
        (pod("lab", {"kai.scheduler/queue": "rich"}, runtimeClassName="gvisor"), "someone", "its queue lab"),
        (pod("lab", {"aliquot.dev/queue": "lab"}, runtimeClassName="gvisor"), "someone", ""),
        (pod("vms"), "someone", "virtual machines only"),
        (pod("vms"), "system:serviceaccount:vms:kubevirt-controller", "virtual machines only"),
        (pod("vms"), "system:serviceaccount:kubevirt:kubevirt-controller", ""),
    ],
)
def test_pods_stay_in_what_was_chosen(server: Server, document: Object, user: str, word: str) -> None:
    found = refusal(server, document, user)

    if word:
        assert word in found
    else:
        assert "tenant" not in found


def test_who_may_contain_a_tenant_may_change_what_lets_it_out(server: Server) -> None:
    """Every user of the embedded server may do everything: what is shown is that the policy can be asked."""
    plural, group = "ciliumnetworkpolicies", "cilium.io"
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"kind": "CiliumNetworkPolicy", "plural": plural, "singular": "ciliumnetworkpolicy"}
    version = {"name": "v2", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    server.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
        }
    )
    policy = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "open", "namespace": "lab"},
        "spec": {"egress": [{}]},
    }

    made = server.create(policy)
    made["spec"] = {"egress": []}
    server.update(made)
    server.registry.delete(server.registry.resources.named(plural, group), "lab", "open", User("someone"))


@pytest.mark.parametrize("name", ["policy-models.yaml", "policy-tenants.yaml"])
def test_match_conditions_ask_only_for_what_an_api_server_tells_them(name: str) -> None:
    """kube-apiserver evaluates match conditions without the namespace (plugin/webhook/matchconditions)."""
    for document in yaml.safe_load_all(manifests.text(name)):
        for condition in document.get("spec", {}).get("matchConditions", ()):
            assert "namespaceObject" not in condition["expression"]
            assert "variables." not in condition["expression"]
