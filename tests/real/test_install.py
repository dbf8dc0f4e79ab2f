"""What is installed is accepted as it is written, and keeps others out."""

import json

from tests.conformance.server import Api, Object
from tests.real.cluster import Cluster, gated, pod
from tests.real.history import History

from aliquot import manifests
from aliquot.kube.config import load_kubeconfig
from aliquot.kube.decoding import Decoding
from aliquot.kube.marks import GATED, MARKED, marking
from aliquot.model.core import Pod
from aliquot.workloads.labels import ADMITTED_AT, STALE_SINCE

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


def test_nobody_but_aliquot_marks_a_pod_or_passes_by_the_gate(real: Cluster, warnings: list[str]) -> None:
    """The administrator tries, who may do everything else."""
    space = real.namespace("real-marks")
    template = real.template(space, 1)
    pods = f"/api/v1/namespaces/{space}/pods"
    for labels in ({MARKED: "true"}, {GATED: "true"}):
        # The label of the gate says that the gate is there, and none is put on for it.
        refused = real.api.request("POST", pods, pod("forged", space, [template], labels=labels))
        assert refused.code == 403, refused.content
    made = real.create(pods, pod("held", space, [template]))
    assert gated(made)
    assert made["metadata"]["labels"] == {GATED: "true"}

    forged = {ADMITTED_AT: "2026-01-01T00:00:00Z"}
    assert real.patch(f"{pods}/held", {"metadata": {"annotations": forged}}).code == 200
    for path in (f"{pods}/held", f"{pods}/held/status"):
        refused = real.patch(path, {"metadata": {"labels": {MARKED: "true"}}})
        assert refused.code == 403, refused.content

    aliquot = Api(load_kubeconfig([real.kubeconfig()]))
    marks = marking(Decoding(Pod).object(json.dumps(made).encode()), {STALE_SINCE: "2026-01-01T00:00:00Z"})
    merge = "application/merge-patch+json"
    marked = aliquot.request("PATCH", f"{pods}/held", {"metadata": marks}, content_type=merge)
    aliquot.close()
    assert marked.code == 200, marked.content
    assert marked.body["metadata"]["annotations"] == {STALE_SINCE: "2026-01-01T00:00:00Z"}
    tries: list[Object] = [
        {"annotations": {STALE_SINCE: None}},
        {"annotations": forged},
        {"labels": {MARKED: None}},
        {"labels": {MARKED: "false"}},
    ]
    for path in (f"{pods}/held", f"{pods}/held/status"):
        for metadata in tries:
            refused = real.patch(path, {"metadata": metadata})
            assert refused.code == 403, (path, metadata, refused.content)
            assert "only Aliquot sets" in refused.body["message"]
        told = real.patch(path, {"metadata": {"labels": {"told": str(len(path))}}})
        assert told.code == 200, told.content
