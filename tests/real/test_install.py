"""What is installed is accepted as it is written, and keeps others out."""

from tests.real.cluster import Cluster, gated, pod
from tests.real.history import History

from aliquot import manifests

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
GPU_CLAIM = {"devices": {"requests": [{"name": "g", "exactly": {"deviceClassName": "gpu.nvidia.com"}}]}}


def test_every_manifest_is_accepted_with_strict_validation(warnings: list[str]) -> None:
    assert warnings == []


def test_manifests_applied_again_change_nothing(real: Cluster, warnings: list[str]) -> None:
    before = {obj["metadata"]["name"]: obj for obj in real.items(POLICIES)}
    real.install()
    after = {obj["metadata"]["name"]: obj for obj in real.items(POLICIES)}
    assert {name: obj["metadata"]["generation"] for name, obj in after.items()} == {
        name: obj["metadata"]["generation"] for name, obj in before.items()
    }


def test_expressions_of_policies_pass_the_type_check(real: Cluster, warnings: list[str]) -> None:
    names = {
        obj["metadata"]["name"] for obj in manifests.load() if obj["kind"] == "ValidatingAdmissionPolicy"
    }

    def checked() -> bool:
        return all("typeChecking" in obj.get("status", {}) for obj in found())

    def found() -> list[dict]:
        return [obj for obj in real.items(POLICIES) if obj["metadata"]["name"] in names]

    real.until(checked, "the API server has checked the policies' types")
    assert {
        obj["metadata"]["name"]: obj["status"]["typeChecking"]["expressionWarnings"]
        for obj in found()
        if obj["status"]["typeChecking"].get("expressionWarnings")
    } == {}


def test_custom_resources_are_established(real: Cluster, warnings: list[str]) -> None:
    for plural in ("queues", "topologies"):
        found = real.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.aliquot.dev")
        conditions = {one["type"]: one["status"] for one in found["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"


def test_pods_that_ask_for_devices_are_gated_and_others_are_not(real: Cluster, history: History) -> None:
    space = real.namespace("real-gates")
    template = real.template(space, 1)
    pods = f"/api/v1/namespaces/{space}/pods"
    assert gated(real.create(pods, pod("with", space, [template])))
    assert not gated(real.create(pods, pod("without", space, [])))
    elsewhere = real.namespace("real-elsewhere", managed=False)
    real.template(elsewhere, 1)
    assert not gated(real.create(f"/api/v1/namespaces/{elsewhere}/pods", pod("with", elsewhere, [template])))


def test_nobody_but_aliquot_allocates_or_lifts_a_gate(real: Cluster, warnings: list[str]) -> None:
    space = real.namespace("real-guards")
    template = real.template(space, 1)
    real.create(f"/api/v1/namespaces/{space}/pods", pod("held", space, [template]))
    lifted = real.patch(f"/api/v1/namespaces/{space}/pods/held", {"spec": {"schedulingGates": []}})
    assert lifted.code == 403, lifted.content
    claims = f"/apis/resource.k8s.io/v1/namespaces/{space}/resourceclaims"
    obj = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "mine"}}
    real.create(claims, obj | {"spec": GPU_CLAIM})
    result = {"request": "g", "driver": "gpu.nvidia.com", "pool": "p", "device": "gpu-0"}
    taken = real.patch(
        f"{claims}/mine/status", {"status": {"allocation": {"devices": {"results": [result]}}}}
    )
    assert taken.code == 403, taken.content
    assert "only Aliquot allocates" in taken.body["message"]
