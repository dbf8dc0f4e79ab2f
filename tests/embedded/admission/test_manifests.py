import copy
from typing import Any

import pytest
from cluster import Cluster

from aliquot import manifests
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import StatusError


def queue(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "aliquot.dev/v1alpha1",
        "kind": "Queue",
        "metadata": {"name": name},
        "spec": spec,
    }


def test_every_manifest_is_accepted_with_strict_field_validation(cluster: Cluster) -> None:
    cluster.install()
    kinds = [one["kind"] for one in manifests.load()]
    for kind in (
        "CustomResourceDefinition",
        "Namespace",
        "ConfigMap",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "PriorityClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    ):
        assert kind in kinds


def test_the_namespace_comes_before_what_lies_in_it() -> None:
    objects = manifests.load()
    first = next(index for index, one in enumerate(objects) if one["metadata"].get("namespace"))
    assert objects.index(next(one for one in objects if one["kind"] == "Namespace")) < first


@pytest.mark.parametrize(("minor", "version"), [(34, "v1beta1"), (35, "v1beta1"), (36, "v1"), (37, "v1")])
def test_mutating_policies_name_the_version_that_the_cluster_serves(minor: int, version: str) -> None:
    served = {one["apiVersion"] for one in manifests.load(minor) if one["kind"].startswith("Mutating")}
    assert served == {f"admissionregistration.k8s.io/{version}"}


def test_documents_are_the_callers_to_change() -> None:
    first = manifests.load()
    untouched = copy.deepcopy(first)
    first[0]["metadata"]["name"] = "changed"
    assert manifests.load() == untouched


def test_every_policy_has_a_binding_and_every_binding_a_policy() -> None:
    objects = manifests.load()
    policies = {one["metadata"]["name"] for one in objects if one["kind"].endswith("AdmissionPolicy")}
    bound = {one["spec"]["policyName"] for one in objects if one["kind"].endswith("PolicyBinding")}
    assert policies == bound


def test_the_controller_may_do_what_the_design_needs_and_no_more() -> None:
    role = next(one for one in manifests.load() if one["kind"] == "ClusterRole")
    writes: dict[str, set[str]] = {}
    for rule in role["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        for resource in rule["resources"]:
            writes.setdefault(resource, set()).update(set(rule["verbs"]) - {"get", "list", "watch"})
    assert {resource: verbs for resource, verbs in writes.items() if verbs} == {
        "resourceclaims": {"patch"},
        "resourceclaims/status": {"patch"},
        "resourceclaims/binding": {"patch"},
        "pods": {"patch", "delete"},
        "pods/status": {"patch"},
        "pods/eviction": {"create"},
        "events": {"create"},
        "queues/status": {"patch"},
        "approvedmodels/status": {"patch"},
    }


def test_a_queue_gets_its_default_priority(cluster: Cluster) -> None:
    cluster.install()
    made = cluster.create(queue("team", resources=[{"name": "gpu", "quota": 4, "limit": "8"}]))
    assert made["spec"]["priority"] == 100
    assert made["spec"]["resources"] == [{"name": "gpu", "quota": 4, "limit": "8", "overQuotaWeight": 1}]


@pytest.mark.parametrize(
    "spec",
    [
        {"parent": "self"},
        {"parent": "Not A Name"},
        {"priority": "high"},
        {"resources": [{"quota": 1}]},
        {"resources": [{"name": "gpu", "quota": "-2"}]},
        {"resources": [{"name": "gpu", "limit": -2}]},
        {"resources": [{"name": "gpu", "quota": "-1Gi"}]},
        {"preemptMinRuntime": "5 minutes"},
        {"reclaimMinRuntime": "-5m"},
        {"resources": [{"name": "gpu", "quota": "4 GPUs"}]},
        {"resources": [{"name": "gpu", "quota": 9, "limit": "8"}]},
        {"resources": [{"name": "memory", "quota": "2Gi", "limit": "2G"}]},
        {"resources": [{"name": "gpu", "overQuotaWeight": -1}]},
        {"resources": [{"name": "gpu"}, {"name": "gpu"}]},
    ],
)
def test_a_queue_that_makes_no_sense_is_refused(cluster: Cluster, spec: Object) -> None:
    cluster.install()
    with pytest.raises(StatusError) as refused:
        cluster.create(queue("self", **spec))
    assert refused.value.code in (400, 422)


def test_a_queue_may_say_that_there_is_no_bound_and_how_long_work_is_left_alone(cluster: Cluster) -> None:
    cluster.install()
    resources = [
        {"name": "gpu", "quota": -1, "limit": "-1"},
        {"name": "cpu", "quota": 4, "limit": -1},
        {"name": "gpuMemory", "quota": "80Gi"},
    ]
    made = cluster.create(
        queue("team", resources=resources, preemptMinRuntime="1h30m", reclaimMinRuntime="0s")
    )
    assert [item["quota"] for item in made["spec"]["resources"]] == [-1, 4, "80Gi"]


def test_a_quota_above_its_limit_is_told_with_the_resource(cluster: Cluster) -> None:
    cluster.install()
    resources = [
        {"name": "gpu", "quota": 2, "limit": "4"},
        {"name": "memory", "quota": "2Gi", "limit": "2G"},
    ]
    with pytest.raises(StatusError, match="denied request: quota exceeds limit for memory"):
        cluster.create(queue("team", resources=resources))


def test_what_is_no_queue_is_told_before_policies_look_at_it(cluster: Cluster) -> None:
    cluster.install()
    wrong = {"gpu": {"quota": 1}}
    with pytest.raises(
        StatusError, match=r"spec\.resources: Invalid value: .*must be of type array"
    ) as refused:
        cluster.create(queue("team", resources=wrong))
    assert refused.value.code == 422
    made = cluster.create(queue("team", resources=[{"name": "gpu", "quota": 1}]))
    made["spec"]["resources"] = wrong
    with pytest.raises(StatusError, match="must be of type array"):
        cluster.update("queues.aliquot.dev", made)
