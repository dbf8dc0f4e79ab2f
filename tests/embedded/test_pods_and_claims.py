"""Pods, claims and what else DRA has: defaults, validation, what may change."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from documents import VALID

from aliquot.embedded.registry import SYSTEM
from aliquot.embedded.status import StatusError

Object = dict[str, Any]
CLAIMS = "resourceclaims.resource.k8s.io"
SLICES = "resourceslices.resource.k8s.io"


def pod(**spec: Any) -> Object:
    containers = [{"name": "c", "image": "i"}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers} | spec}


def test_a_pod_is_given_the_defaults_of_kubernetes(api: Any) -> None:
    spec = api.create("pods", pod())["spec"]
    expected = {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority",
        "enableServiceLinks": True,
        "securityContext": {},
    }
    assert {key: spec[key] for key in expected} == expected
    container = spec["containers"][0]
    assert container["imagePullPolicy"] == "Always"
    assert container["terminationMessagePath"] == "/dev/termination-log"


def test_requests_default_to_limits_and_quantities_are_canonical(api: Any) -> None:
    resources = {"limits": {"cpu": 2, "memory": "1024Mi", "nvidia.com/gpu": "1"}, "requests": {"cpu": "0.5"}}
    made = api.create("pods", pod(containers=[{"name": "c", "image": "i", "resources": resources}]))
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"},
        "requests": {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"},
    }
    assert made["status"]["qosClass"] == "Burstable"


def test_status_sent_with_a_new_pod_is_not_taken(api: Any) -> None:
    made = api.create("pods", pod() | {"status": {"phase": "Running"}})
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_priority_comes_from_the_class(api: Any) -> None:
    never = {"metadata": {"name": "high"}, "value": 100, "preemptionPolicy": "Never"}
    api.create("priorityclasses.scheduling.k8s.io", never)
    spec = api.create("pods", pod(priorityClassName="high"))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (100, "Never")
    other = pod(priorityClassName="none") | {"metadata": {"name": "q"}}
    with pytest.raises(StatusError, match=r"no PriorityClass with name none was found") as caught:
        api.create("pods", other)
    assert caught.value.code == 403


CONTAINER = {"name": "c", "image": "i"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"containers": []}, "spec.containers"),
        ({"containers": [{"name": "c"}]}, "spec.containers[0].image"),
        ({"containers": [{"name": "C", "image": "i"}]}, "spec.containers[0].name"),
        ({"containers": [CONTAINER, CONTAINER]}, "spec.containers[1].name"),
        ({"initContainers": [CONTAINER]}, "spec.initContainers[0].name"),
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy"),
        ({"terminationGracePeriodSeconds": -5}, "spec.terminationGracePeriodSeconds"),
        ({"resourceClaims": [{"name": "g"}]}, "spec.resourceClaims[0]"),
        (
            {"resourceClaims": [{"name": "g", "resourceClaimName": "a", "resourceClaimTemplateName": "b"}]},
            "spec.resourceClaims[0]",
        ),
        (
            {"containers": [CONTAINER | {"resources": {"claims": [{"name": "g"}]}}]},
            "spec.containers[0].resources.claims[0]",
        ),
        (
            {"containers": [CONTAINER | {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            "spec.containers[0].volumeMounts[0].name",
        ),
        (
            {"containers": [CONTAINER | {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}]},
            "spec.containers[0].resources.requests",
        ),
        (
            {"containers": [CONTAINER | {"resources": {"limits": {"nvidia.com/gpu": "500m"}}}]},
            "spec.containers[0].resources.limits[nvidia.com/gpu]",
        ),
        (
            {"containers": [CONTAINER | {"resources": {"requests": {"nvidia.com/gpu": 1}}}]},
            "spec.containers[0].resources.limits",
        ),
        ({"tolerations": [{"operator": "Equal"}]}, "spec.tolerations[0].operator"),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 3}]}, "spec.tolerations[0].effect"),
        ({"nodeSelector": {"a b": "c"}}, "spec.nodeSelector"),
        ({"nodeName": "n", "schedulingGates": [{"name": "x.io/a"}]}, "spec.nodeName"),
        ({"schedulingGates": [{"name": "x.io/a"}, {"name": "x.io/a"}]}, "spec.schedulingGates[1]"),
    ],
)
def test_a_wrong_pod_is_told_which_field_is_wrong(api: Any, spec: Object, field: str) -> None:
    with pytest.raises(StatusError) as caught:
        api.create("pods", pod(**spec))
    assert caught.value.code == 422
    assert field in [cause.field for cause in caught.value.causes]


def gated(api: Any, **spec: Any) -> Object:
    made: Object = api.create("pods", pod(schedulingGates=[{"name": "x.io/a"}, {"name": "x.io/b"}], **spec))
    return made


def test_a_gated_pod_says_so_and_cannot_be_bound(api: Any) -> None:
    made = gated(api)
    assert made["status"]["conditions"][0]["reason"] == "SchedulingGated"
    with pytest.raises(StatusError, match=r"has non-empty .spec.schedulingGates"):
        api.bind("p")


def test_gates_are_lifted_but_never_put_back(api: Any) -> None:
    gated(api)
    made = api.patch("pods", "p", "merge", {"spec": {"schedulingGates": [{"name": "x.io/b"}]}})
    assert made["spec"]["schedulingGates"] == [{"name": "x.io/b"}]
    made["spec"]["schedulingGates"] = []
    api.update("pods", made)
    with pytest.raises(
        StatusError, match=r"only deletion is allowed, but found new scheduling gate 'x.io/a'"
    ):
        api.patch("pods", "p", "merge", {"spec": {"schedulingGates": [{"name": "x.io/a"}]}})


def affinity(*terms: Object) -> Object:
    wanted = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": wanted}}


A = {"key": "a", "operator": "In", "values": ["1"]}
B = {"key": "b", "operator": "Exists"}


@pytest.mark.parametrize(
    ("before", "change", "allowed"),
    [
        ({}, {"nodeSelector": {"a": "b"}}, True),
        ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b", "c": "d"}}, True),
        ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "x"}}, False),
        ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": None}}, False),
        ({}, {"affinity": affinity({"matchExpressions": [A]})}, True),
        (
            {"affinity": affinity({"matchExpressions": [A]})},
            {"affinity": affinity({"matchExpressions": [A, B]})},
            True,
        ),
        (
            {"affinity": affinity({"matchExpressions": [A]})},
            {"affinity": affinity({"matchExpressions": [B]})},
            False,
        ),
        (
            {"affinity": affinity({"matchExpressions": [A]})},
            {"affinity": affinity({"matchExpressions": [A]}, {"matchExpressions": [B]})},
            False,
        ),
        ({}, {"tolerations": [{"key": "a", "operator": "Exists"}]}, True),
        ({"tolerations": [{"key": "a", "operator": "Exists"}]}, {"tolerations": []}, False),
        ({}, {"priority": 5}, False),
        ({}, {"nodeName": "n"}, False),
        ({}, {"containers": [{"name": "c", "image": "j"}]}, True),
        ({}, {"containers": [{"name": "d", "image": "i"}]}, False),
    ],
)
def test_while_gated_placement_may_only_become_narrower(
    api: Any, before: Object, change: Object, allowed: bool
) -> None:
    made = gated(api, **before)
    if "containers" in change:
        made["spec"]["containers"][0] |= change["containers"][0]
        change = {"containers": made["spec"]["containers"]}
    if allowed:
        api.patch("pods", "p", "merge", {"spec": change})
        return
    with pytest.raises(StatusError) as caught:
        api.patch("pods", "p", "merge", {"spec": change})
    assert caught.value.code == 422


@pytest.mark.parametrize(
    "change", [{"nodeSelector": {"a": "b"}}, {"affinity": affinity({"matchFields": [A]})}]
)
def test_an_ungated_pod_stays_where_it_may_go(api: Any, change: Object) -> None:
    api.create("pods", pod())
    with pytest.raises(StatusError, match=r"pod updates may not change fields other than"):
        api.patch("pods", "p", "merge", {"spec": change})


def test_binding_sets_the_node_once(api: Any) -> None:
    api.create("pods", pod())
    api.bind("p")
    bound = api.get("pods", "p")
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    assert api.names("pods", field_selector="spec.nodeName=n1") == ["p"]
    with pytest.raises(StatusError, match=r'pod p is already assigned to node "n1"') as caught:
        api.bind("p", "n2")
    assert caught.value.code == 409


@pytest.mark.parametrize("target", [{}, {"name": ""}, {"kind": "Pod", "name": "x"}, None, "x"])
def test_a_binding_without_a_node_is_invalid(api: Any, target: Any) -> None:
    api.create("pods", pod())
    with pytest.raises(StatusError) as caught:
        api.registry.create_subresource(
            api.resource("pods"), "default", "p", "binding", {"target": target}, SYSTEM
        )
    assert caught.value.code == 422


def test_spec_and_status_are_written_apart(api: Any) -> None:
    made = api.create("pods", pod())
    after = api.patch("pods", "p", "merge", {"status": {"phase": "Failed"}})
    assert after["status"]["phase"] == "Pending"
    body = copy.deepcopy(made)
    body["status"]["phase"] = "Running"
    body["spec"]["containers"][0]["image"] = "other"
    after = api.update("pods", body, subresource="status")
    assert (after["status"]["phase"], after["spec"]["containers"][0]["image"]) == ("Running", "i")


def claim(**changes: Any) -> Object:
    made = copy.deepcopy(VALID[CLAIMS])
    made["spec"]["devices"] |= changes
    return made


ALLOCATION = {
    "devices": {
        "results": [{"request": "gpu", "driver": "gpu.example.com", "pool": "n1", "device": "gpu-0"}]
    },
    "allocationTimestamp": "2026-01-01T12:00:00Z",
}
CONSUMER = {"resource": "pods", "name": "p", "uid": "u1"}


def test_a_request_asks_for_one_device_by_default(api: Any) -> None:
    made = api.create(CLAIMS, claim())
    exactly = made["spec"]["devices"]["requests"][0]["exactly"]
    assert (exactly["allocationMode"], exactly["count"]) == ("ExactCount", 1)


REQUESTS = "spec.devices.requests[0]"


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([{"name": "a"}], REQUESTS),
        ([{"name": "a", "exactly": {"deviceClassName": "c"}, "firstAvailable": [{"name": "b"}]}], REQUESTS),
        ([{"name": "A_", "exactly": {"deviceClassName": "c"}}], f"{REQUESTS}.name"),
        ([{"name": "a", "exactly": {}}], f"{REQUESTS}.exactly.deviceClassName"),
        ([{"name": "a", "exactly": {"deviceClassName": "c", "count": -1}}], f"{REQUESTS}.exactly.count"),
        (
            [{"name": "a", "exactly": {"deviceClassName": "c", "allocationMode": "Some"}}],
            f"{REQUESTS}.exactly.allocationMode",
        ),
        (
            [{"name": "a", "exactly": {"deviceClassName": "c", "allocationMode": "All", "count": 2}}],
            f"{REQUESTS}.exactly.count",
        ),
        (
            [
                {
                    "name": "a",
                    "exactly": {"deviceClassName": "c", "selectors": [{"cel": {"expression": "x +"}}]},
                }
            ],
            f"{REQUESTS}.exactly.selectors[0].cel.expression",
        ),
        (
            [{"name": "a", "exactly": {"deviceClassName": "c", "adminAccess": True}}],
            f"{REQUESTS}.exactly.adminAccess",
        ),
        (
            [{"name": f"r{index}", "exactly": {"deviceClassName": "c"}} for index in range(33)],
            "spec.devices.requests",
        ),
    ],
)
def test_a_wrong_claim_is_told_which_field_is_wrong(api: Any, requests: list[Any], field: str) -> None:
    with pytest.raises(StatusError) as caught:
        api.create(CLAIMS, claim(requests=requests, constraints=[], config=[]))
    assert caught.value.code == 422
    assert field in [cause.field for cause in caught.value.causes]


def test_the_spec_of_a_claim_never_changes(api: Any) -> None:
    api.create(CLAIMS, claim())
    with pytest.raises(StatusError, match=r"spec: Invalid value: .*field is immutable"):
        api.patch(CLAIMS, "a", "merge", {"spec": {"devices": {"constraints": []}}})


def status(api: Any, **status: Any) -> Object:
    made: Object = api.patch(CLAIMS, "a", "merge", {"status": status}, subresource="status")
    return made


def test_an_allocation_is_set_once_and_changes_only_by_way_of_none(api: Any) -> None:
    api.create(CLAIMS, claim())
    made = status(api, allocation=ALLOCATION, reservedFor=[CONSUMER])
    assert made["status"]["allocation"] == ALLOCATION
    other = copy.deepcopy(ALLOCATION)
    other["devices"]["results"][0]["device"] = "gpu-1"
    with pytest.raises(StatusError, match=r"status.allocation: Invalid value: .*field is immutable"):
        api.registry.update(
            api.resource(CLAIMS),
            "default",
            "a",
            made | {"status": {"allocation": other}},
            SYSTEM,
            subresource="status",
        )
    with pytest.raises(StatusError, match=r"may not be specified when `allocated` is not set"):
        status(api, allocation=None)
    status(api, allocation=None, reservedFor=None)
    assert status(api, allocation=other)["status"]["allocation"] == other


def test_a_claim_takes_256_reservations(api: Any) -> None:
    api.create(CLAIMS, claim())
    many = [CONSUMER | {"uid": f"u{index}"} for index in range(257)]
    status(api, allocation=ALLOCATION, reservedFor=many[:256])
    with pytest.raises(StatusError, match=r"Too many: 257: must have at most 256 items"):
        status(api, reservedFor=many)
    with pytest.raises(StatusError, match=r"Duplicate value"):
        status(api, reservedFor=[CONSUMER, CONSUMER])


def test_a_claim_being_deleted_takes_no_new_reservation(api: Any) -> None:
    held = claim()
    held["metadata"]["finalizers"] = ["resource.kubernetes.io/delete-protection"]
    api.create(CLAIMS, held)
    status(api, allocation=ALLOCATION, reservedFor=[CONSUMER])
    api.delete(CLAIMS, "a")
    with pytest.raises(StatusError, match=r"while the claim is being deleted"):
        status(api, reservedFor=[CONSUMER, CONSUMER | {"uid": "u2"}])


def test_device_status_is_of_allocated_devices_only(api: Any) -> None:
    api.create(CLAIMS, claim())
    mine = {"driver": "gpu.example.com", "pool": "n1", "device": "gpu-0"}
    status(api, allocation=ALLOCATION, devices=[mine])
    with pytest.raises(StatusError, match=r"must be an allocated device in the claim"):
        status(api, devices=[mine | {"device": "gpu-9"}])


def test_a_status_write_leaves_metadata_alone(api: Any) -> None:
    made = api.create(CLAIMS, claim())
    made["metadata"]["labels"] = {"a": "b"}
    made["metadata"]["finalizers"] = ["x.io/a"]
    made["status"] = {"allocation": ALLOCATION}
    after = api.update(CLAIMS, made, subresource="status")
    assert "labels" not in after["metadata"]
    assert "finalizers" not in after["metadata"]


def slice_of(**changes: Any) -> Object:
    made = copy.deepcopy(VALID[SLICES])
    made["spec"] |= changes
    return made


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"allNodes": True}, "spec"),
        ({"nodeName": None}, "spec"),
        ({"driver": "UPPER"}, "spec.driver"),
        ({"pool": {"name": "n1", "generation": 1, "resourceSliceCount": 0}}, "spec.pool.resourceSliceCount"),
        ({"devices": [{"name": "a"}, {"name": "a"}]}, "spec.devices[1]"),
        ({"devices": [{"name": f"d{index}"} for index in range(129)]}, "spec.devices"),
        ({"devices": [{"name": "a", "attributes": {"x": {}}}]}, "spec.devices[0].attributes[x]"),
        ({"devices": [{"name": "a", "attributes": {"1x": {"int": 1}}}]}, "spec.devices[0].attributes"),
        ({"devices": [{"name": "a", "nodeName": "n"}]}, "spec.devices[0].nodeName"),
        ({"sharedCounters": [{"name": "a", "counters": {"x": {"value": "1"}}}]}, "spec"),
    ],
)
def test_a_wrong_slice_is_told_which_field_is_wrong(api: Any, changes: Object, field: str) -> None:
    with pytest.raises(StatusError) as caught:
        api.create(SLICES, slice_of(**changes))
    assert caught.value.code == 422
    assert field in [cause.field for cause in caught.value.causes]


def test_taints_are_stamped_with_the_time_they_were_added(api: Any) -> None:
    made = api.create(SLICES, slice_of())
    assert made["spec"]["devices"][0]["taints"][0]["timeAdded"] == "2026-01-01T12:00:00Z"


def test_node_and_driver_of_a_slice_never_change(api: Any) -> None:
    api.create(SLICES, slice_of())
    for change in ({"nodeName": "n2"}, {"driver": "other"}, {"pool": {"name": "x"}}):
        with pytest.raises(StatusError, match=r"field is immutable"):
            api.patch(SLICES, "a", "merge", {"spec": change})


def test_a_node_brings_its_status_along(api: Any) -> None:
    made = api.create("nodes", VALID["nodes"])
    assert made["status"]["capacity"] == {"cpu": "8"}
    api.patch("nodes", "a", "merge", {"status": {"capacity": {"cpu": "9"}}})
    assert api.get("nodes", "a")["status"]["capacity"] == {"cpu": "8"}
