"""The controller's roles against what it asks for, both ways: nothing is refused, nothing is spare."""

import asyncio
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.approvals.test_custom_resource import model
from tests.controller.test_run import controller
from tests.controller.world import cluster, until
from tests.install.access import Recorded, recording

from aliquot import manifests
from aliquot.controller.registry import RegistryKeeper
from aliquot.embedded import server as embedded_server
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.registry import Registry
from aliquot.gateway.configuration import load
from aliquot.install.cluster import Cluster
from aliquot.kube.client import Client
from aliquot.kube.config import load_kubeconfig
from aliquot.model.kinds import API_VERSIONS
from aliquot.scheduling.policy import Policy
from aliquot.web.governance.live import LiveSource

ROLES = [
    one
    for one in manifests.load()
    if one["kind"] in ("ClusterRole", "Role") and one["metadata"]["name"] == manifests.SERVICE_ACCOUNT
]

#: Rights that no run against the embedded cluster makes use of, each with its reason.
SPARE = {
    ("get", "admissionregistration.k8s.io", "validatingadmissionpolicies"): "init container",
    ("get", "admissionregistration.k8s.io", "validatingadmissionpolicybindings"): "init container",
    ("get", "admissionregistration.k8s.io", "mutatingadmissionpolicies"): "init container",
    ("get", "admissionregistration.k8s.io", "mutatingadmissionpolicybindings"): "init container",
}

_BUILT_IN = ("", "apps", "batch", "resource.k8s.io", "scheduling.k8s.io", "aliquot.dev")


def foreign_kinds() -> list[tuple[str, str, str]]:
    """Group, version and kind of everything that the controller reads where a cluster has it."""
    found = []
    for kind, versions in API_VERSIONS.items():
        group, _, version = versions[0].rpartition("/")
        if group not in _BUILT_IN:
            found.append((group, version, kind.kind()))
    return found


def plural_of(kind: str) -> str:
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def definition(group: str, version: str, kind: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    plural = plural_of(kind)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


class People:
    """Writes as people do."""

    def __init__(self, running: Any) -> None:
        self._registry: Registry = running.server.registry
        self._load = running.load

    def queue(self, name: str, **spec: Any) -> None:
        document = {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name}}
        self._load.create("queues.aliquot.dev", None, document | {"spec": spec})

    def job(self, name: str, queue: str, size: int, priority: str = "aliquot-default") -> None:
        spec = {
            "restartPolicy": "Never",
            "priorityClassName": priority,
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}],
            "resourceClaims": [{"name": "a", "resourceClaimTemplateName": "gpus-1"}],
        }
        self._load.create(
            "jobs.batch",
            "steady",
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name},
                "spec": {
                    "parallelism": size,
                    "completions": size,
                    "backoffLimit": 100,
                    "template": {"metadata": {"labels": {"aliquot.dev/queue": queue}}, "spec": spec},
                },
            },
        )

    def alone(self, name: str) -> None:
        """A pod with a claim in a namespace of its own, which is not managed."""
        self._load.create("namespaces", None, {"metadata": {"name": name}})
        request = {"name": "a", "exactly": {"deviceClassName": "gpu"}}
        claim = {"metadata": {"name": "one"}, "spec": {"devices": {"requests": [request]}}}
        self._load.create("resourceclaims.resource.k8s.io", name, claim)
        spec = {
            "containers": [{"name": "main", "image": "none"}],
            "resourceClaims": [{"name": "a", "resourceClaimName": "one"}],
        }
        self._load.create("pods", name, {"metadata": {"name": f"{name}-pod"}, "spec": spec})

    def pods(self, owner: str) -> list[dict[str, Any]]:
        found, _, _ = self._registry.list(self._registry.resources.named("pods"))
        return [pod for pod in found if pod["metadata"]["name"].startswith(f"{owner}-")]

    def running(self, owner: str) -> int:
        return sum((pod.get("status") or {}).get("phase") == "Running" for pod in self.pods(owner))

    def tenant(self, name: str) -> None:
        spec = {"agents": [{"name": "coder"}], "dns": True}
        document = {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}}
        self._load.create("tenants.aliquot.dev", None, document | {"spec": spec})

    def approve(self, made: dict[str, Any]) -> None:
        """A model that was proposed may run."""
        made["spec"] |= {"state": "Approved", "decision": {"reason": "because"}}
        resource = self._registry.resources.named("approvedmodels", "aliquot.dev")
        self._registry.update(resource, None, made["metadata"]["name"], made, SYSTEM)

    def cordon(self) -> None:
        """No node takes another pod."""
        nodes = self._registry.resources.named("nodes")
        for node in self._registry.list(nodes)[0]:
            node["spec"] = {**(node.get("spec") or {}), "unschedulable": True}
            self._registry.update(nodes, None, node["metadata"]["name"], node, SYSTEM)

    def delete_pod(self, owner: str) -> None:
        """One of its pods goes."""
        pod = self.pods(owner)[0]["metadata"]
        self._registry.delete(self._registry.resources.named("pods"), "steady", pod["name"], SYSTEM)


async def governance(cluster: Cluster, folder: Path) -> None:
    """What the pages show of models, agents and budgets."""
    (folder / "gateway.yaml").write_text(
        json.dumps(
            {
                "store": {"sqlite": "budgets.db"},
                "upstreams": [{"name": "u", "url": "http://127.0.0.1:9/v1", "models": {"m": "m"}}],
                "cluster": {},
            }
        )
    )
    source = LiveSource(now_us=lambda: 1, configuration=load(folder / "gateway.yaml"), cluster=cluster)
    assert [one["agent"] for one in (await source.agents())["agents"]] == ["lab/coder"]
    assert len((await source.models())["models"]) == 1
    await source.budgets()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Every server of the test lets the controller do what its roles allow."""
    found = Recorded(ROLES)
    monkeypatch.setattr(embedded_server, "Application", recording(found))
    return found


def kinds_of(recorded: Recorded) -> set[tuple[str, str, str]]:
    """Verb, group and resource of all requests up to now."""
    return {one.kind_of for one in recorded.asked}


async def test_the_roles_suffice_and_nothing_in_them_is_spare(tmp_path: Path, recorded: Recorded) -> None:
    """Gangs, shared claims, deletions, queues, who takes from whom, lost members, all kinds that are read."""
    async with cluster(tmp_path, random.Random(3)) as running:
        for group, version, kind in foreign_kinds():
            running.load.create(
                "customresourcedefinitions.apiextensions.k8s.io", None, definition(group, version, kind)
            )
        people = People(running)
        people.queue("low", resources=[{"name": "gpu", "quota": 0}])
        people.queue("high", resources=[{"name": "gpu", "quota": 12}])
        policy = Policy(staleness_seconds=1)
        people.approve(running.load.create("approvedmodels.aliquot.dev", None, model()))
        people.tenant("lab")
        async with controller(running, tmp_path, "a", lease_seconds=2, policy=policy) as live:
            assert await until(lambda: live.leading and live.version > 0, 20)
            for _ in range(12):
                running.load.step()
                await asyncio.sleep(0)
            assert await until(lambda: not running.load.unfinished(running.witness.ran), 60)
            people.job("long", "low", 12)
            assert await until(lambda: people.running("long") == 12, 30), live.plan
            people.job("urgent", "high", 6)
            assert await until(lambda: people.running("urgent") == 6, 60), live.plan
            # A claim of a namespace that is not managed gets its finalizer from Aliquot.
            people.alone("free")
            assert await until(lambda: people.running("free") == 1, 30), live.plan
            people.cordon()
            people.delete_pod("urgent")
            assert await until(lambda: people.running("urgent") == 0, 60), live.plan
            # What tells of it gives way to what does it.
            assert await until(lambda: ("create", "events.k8s.io", "events") in kinds_of(recorded), 30)
            async with Client(load_kubeconfig([running.server.controller_kubeconfig])) as client:
                await RegistryKeeper(client, lambda: datetime.now(UTC)).look()
                await governance(Cluster(client), tmp_path)
        assert running.witness.broken == []

    assert recorded.refused == set()
    used = kinds_of(recorded)
    granted = {
        (verb, group, resource)
        for role in ROLES
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert sorted(granted - used - set(SPARE)) == []
    assert sorted(set(SPARE) - granted) == [], "what is not granted need not be excused"


def test_every_component_has_a_role_of_its_own_and_none_has_a_wildcard() -> None:
    objects = manifests.load()
    accounts = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
    bound: dict[str, set[str]] = {}
    for one in objects:
        if one["kind"] in ("ClusterRoleBinding", "RoleBinding"):
            for subject in one["subjects"]:
                bound.setdefault(subject["name"], set()).add(one["roleRef"]["name"])
    assert bound == {name: {name} for name in accounts}
    for one in objects:
        for rule in one.get("rules", ()) if one["kind"].endswith("Role") else ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "secrets" not in rule["resources"]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_whoever_may_view_sees_all_custom_resources() -> None:
    objects = manifests.load()
    (view,) = (one for one in objects if one["metadata"]["name"] == "aliquot-view")
    plurals = sorted(
        one["spec"]["names"]["plural"] for one in objects if one["kind"] == "CustomResourceDefinition"
    )
    assert view["rules"][0]["resources"] == plurals
    assert set(view["rules"][0]["verbs"]) == {"get", "list", "watch"}
