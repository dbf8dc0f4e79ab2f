import re

import pytest
from world import CLAIMS, FINALIZER, GATE, World, using, wanting

from aliquot.embedded.hooks import Object


def claim_of(world: World, pod: str) -> str:
    statuses = world.get("pods", pod)["status"]["resourceClaimStatuses"]
    assert [one["name"] for one in statuses] == ["gpu"]
    return str(statuses[0]["resourceClaimName"])


def test_a_gated_pod_gets_a_claim_from_its_template(world: World) -> None:
    world.template("one-gpu")
    pod = world.pod("train", schedulingGates=GATE, resourceClaims=wanting("one-gpu"))
    world.settle()
    name = claim_of(world, "train")
    assert re.fullmatch(r"train-gpu-[bcdfghjklmnpqrstvwxz2456789]{5}", name)
    claim = world.get(CLAIMS, name)
    assert claim["metadata"]["annotations"]["resource.kubernetes.io/pod-claim-name"] == "gpu"
    assert claim["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "train",
            "uid": pod["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] == "gpu.nvidia.com"


def test_a_pod_waits_for_its_template_and_gets_the_claim_when_it_appears(world: World) -> None:
    world.node("n1")
    world.pod("early", resourceClaims=wanting("later"))
    world.settle()
    assert world.names(CLAIMS) == []
    assert world.scheduled("early")[:2] == ("False", "Unschedulable")
    world.template("later")
    world.settle()
    assert world.names(CLAIMS) == [claim_of(world, "early")]


def test_an_entry_that_names_a_claim_makes_none(world: World) -> None:
    world.claim("shared")
    world.pod("a", resourceClaims=using("shared"))
    world.settle()
    assert world.names(CLAIMS) == ["shared"]


def test_a_restart_between_claim_and_pod_status_makes_no_second_claim(lasting: World) -> None:
    lasting.template("one-gpu")
    lasting.pod("train", resourceClaims=wanting("one-gpu"))
    lasting.settle()
    first = claim_of(lasting, "train")

    def forget(pod: Object) -> None:
        pod["status"]["resourceClaimStatuses"] = []

    lasting.edit("pods", "train", forget, subresource="status")
    lasting.restart()
    lasting.settle()
    assert lasting.names(CLAIMS) == [first]
    assert claim_of(lasting, "train") == first


def test_a_generated_claim_goes_when_its_pod_has_finished(world: World) -> None:
    world.node("n1")
    world.template("one-gpu")
    world.pod(
        "train",
        annotations={"aliquot.dev/run-seconds": "60"},
        restartPolicy="Never",
        resourceClaims=wanting("one-gpu"),
    )
    world.settle()
    world.allocate(claim_of(world, "train"), "n1", "train")
    world.pass_time(59)
    assert world.phase("train") == "Running"
    assert world.names(CLAIMS) == [claim_of(world, "train")]
    world.pass_time(1)
    assert world.phase("train") == "Succeeded"
    assert world.names(CLAIMS) == []


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_shared_claim_keeps_its_allocation_until_its_last_pod_has_ended(world: World, first: str) -> None:
    world.node("n1")
    world.claim("shared")
    for pod in ("a", "b"):
        world.pod(pod, resourceClaims=using("shared"))
    world.allocate("shared", "n1", "a", "b")
    world.settle()
    last = "b" if first == "a" else "a"
    world.delete("pods", first)
    world.settle()
    claim = world.get(CLAIMS, "shared")
    assert [one["name"] for one in claim["status"]["reservedFor"]] == [last]
    assert claim["status"]["allocation"]
    world.delete("pods", last)
    world.settle()
    claim = world.get(CLAIMS, "shared")
    assert not (claim.get("status") or {}).get("allocation")
    assert not (claim.get("status") or {}).get("reservedFor")
    assert FINALIZER not in (claim["metadata"].get("finalizers") or [])


def test_a_claim_deleted_under_a_running_pod_stays_until_the_pod_is_gone(world: World) -> None:
    world.node("n1")
    world.claim("held")
    world.pod("user", resourceClaims=using("held"))
    world.allocate("held", "n1", "user")
    world.settle()
    world.delete(CLAIMS, "held")
    world.settle()
    assert world.get(CLAIMS, "held")["status"]["allocation"]
    assert world.phase("user") == "Running"
    world.delete("pods", "user")
    world.settle()
    assert world.find(CLAIMS, "held") is None


def test_an_unused_allocated_claim_that_is_deleted_goes_at_once(world: World) -> None:
    world.node("n1")
    world.claim("idle")
    world.allocate("idle", "n1")
    world.settle()
    assert world.get(CLAIMS, "idle")["status"]["allocation"]
    world.delete(CLAIMS, "idle")
    world.settle()
    assert world.find(CLAIMS, "idle") is None


def test_a_new_pod_of_the_same_name_does_not_inherit_the_reservation(world: World) -> None:
    world.node("n1")
    world.claim("shared")
    world.pod("a", schedulingGates=GATE, resourceClaims=using("shared"))
    world.allocate("shared", "n1", "a")
    world.delete("pods", "a")
    world.pod("a", schedulingGates=GATE, resourceClaims=using("shared"))
    world.settle()
    claim = world.get(CLAIMS, "shared")
    assert not (claim.get("status") or {}).get("reservedFor")
    assert not (claim.get("status") or {}).get("allocation")


def test_a_pod_made_with_a_node_name_gets_its_claims_reserved(world: World) -> None:
    world.node("n1")
    world.claim("shared")
    world.allocate("shared", "n1")
    world.pod("direct", nodeName="n1", resourceClaims=using("shared"))
    world.settle()
    assert [one["name"] for one in world.get(CLAIMS, "shared")["status"]["reservedFor"]] == ["direct"]
    assert world.phase("direct") == "Running"


def test_a_claim_that_is_deleted_before_its_pod_starts_is_made_again(world: World) -> None:
    world.template("one-gpu")
    world.pod("train", schedulingGates=GATE, resourceClaims=wanting("one-gpu"))
    world.settle()
    first = claim_of(world, "train")
    world.delete(CLAIMS, first)
    world.settle()
    assert claim_of(world, "train") != first
    assert world.names(CLAIMS) == [claim_of(world, "train")]


def test_long_names_are_cut_so_that_pod_and_entry_can_both_be_told(world: World) -> None:
    world.template("one-gpu")
    entry = "accelerators-of-the-big-model"
    world.pod(
        "a" * 100,
        schedulingGates=GATE,
        resourceClaims=[{"name": entry, "resourceClaimTemplateName": "one-gpu"}],
    )
    world.settle()
    name = world.names(CLAIMS)[0]
    assert len(name) <= 63
    assert name.startswith("a" * 40)
    assert "-acceler" in name
