"""Deletion: finalizers, grace, propagation, preconditions, namespaces."""

from __future__ import annotations

from typing import Any

import pytest
from documents import VALID, definition

from aliquot.embedded.registry import SYSTEM
from aliquot.embedded.status import StatusError


def test_an_object_without_finalizers_goes_at_once(api: Any) -> None:
    made = api.create("configmaps", VALID["configmaps"])
    status = api.delete("configmaps", "a")
    assert (status["kind"], status["status"]) == ("Status", "Success")
    assert status["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert not api.exists("configmaps", "a")


def test_finalizers_hold_an_object_until_the_last_is_gone(api: Any) -> None:
    held = {"metadata": {"name": "a", "finalizers": ["x.io/a", "x.io/b"]}}
    api.create("configmaps", held)
    marked = api.delete("configmaps", "a")
    assert marked["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:00Z"
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    again = api.delete("configmaps", "a")
    assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
    api.patch("configmaps", "a", "merge", {"metadata": {"finalizers": ["x.io/b"]}})
    assert api.exists("configmaps", "a")
    with pytest.raises(StatusError, match="no new finalizers can be added if the object is being deleted"):
        api.patch("configmaps", "a", "merge", {"metadata": {"finalizers": ["x.io/b", "x.io/c"]}})
    api.patch("configmaps", "a", "merge", {"metadata": {"finalizers": None}})
    assert not api.exists("configmaps", "a")


@pytest.mark.parametrize(
    ("propagation", "finalizer"),
    [("Foreground", "foregroundDeletion"), ("Orphan", "orphan"), ("Background", None)],
)
def test_propagation_is_a_finalizer_for_the_garbage_collector(
    api: Any, propagation: str, finalizer: str | None
) -> None:
    api.create("configmaps", VALID["configmaps"])
    api.delete("configmaps", "a", propagation=propagation)
    if finalizer is None:
        assert not api.exists("configmaps", "a")
    else:
        assert api.get("configmaps", "a")["metadata"]["finalizers"] == [finalizer]


@pytest.mark.parametrize(
    ("preconditions", "match"),
    [
        ({"uid": "other"}, "UID in precondition"),
        ({"resourceVersion": "1"}, "ResourceVersion in precondition"),
    ],
)
def test_preconditions_guard_a_deletion(api: Any, preconditions: dict[str, str], match: str) -> None:
    made = api.create("configmaps", VALID["configmaps"])
    with pytest.raises(StatusError, match=match) as caught:
        api.delete("configmaps", "a", preconditions=preconditions)
    assert caught.value.code == 409
    right = {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}
    api.delete("configmaps", "a", preconditions=right)
    assert not api.exists("configmaps", "a")


@pytest.mark.parametrize("options", [{"propagation": "Sideways"}, {"grace_period": -1}])
def test_options_that_make_no_sense_are_refused(api: Any, options: dict[str, Any]) -> None:
    api.create("configmaps", VALID["configmaps"])
    with pytest.raises(StatusError) as caught:
        api.delete("configmaps", "a", **options)
    assert caught.value.code in (400, 422)


def running_pod(api: Any, phase: str = "Running") -> None:
    api.create("pods", {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    api.bind("p")
    api.patch("pods", "p", "merge", {"status": {"phase": phase}}, subresource="status")


def test_a_running_pod_is_given_its_grace(api: Any) -> None:
    running_pod(api)
    marked = api.delete("pods", "p")
    assert marked["kind"] == "Pod"
    assert marked["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:30Z"
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    api.clock.pass_by(10)
    longer = api.delete("pods", "p", grace_period=60)
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 30
    shorter = api.delete("pods", "p", grace_period=5)
    assert shorter["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:15Z"
    api.delete("pods", "p", grace_period=0)
    assert not api.exists("pods", "p")


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_goes_at_once(api: Any, phase: str) -> None:
    running_pod(api, phase)
    api.delete("pods", "p")
    assert not api.exists("pods", "p")


def test_an_unbound_pod_goes_at_once(api: Any) -> None:
    api.create("pods", VALID["pods"] | {"metadata": {"name": "p"}})
    api.delete("pods", "p")
    assert not api.exists("pods", "p")


def test_a_pod_with_a_finalizer_outlives_its_grace(api: Any) -> None:
    running_pod(api)
    api.patch("pods", "p", "merge", {"metadata": {"finalizers": ["x.io/a"]}})
    api.delete("pods", "p", grace_period=0)
    assert api.exists("pods", "p")
    api.patch("pods", "p", "merge", {"metadata": {"finalizers": None}})
    assert not api.exists("pods", "p")


def test_a_namespace_terminates_until_it_is_finalized(api: Any) -> None:
    api.create("namespaces", {"metadata": {"name": "n"}})
    api.create("configmaps", VALID["configmaps"], namespace="n")
    marked = api.delete("namespaces", "n")
    assert marked["status"]["phase"] == "Terminating"
    assert marked["spec"]["finalizers"] == ["kubernetes"]
    with pytest.raises(StatusError, match="because it is being terminated") as caught:
        api.create("configmaps", {"metadata": {"name": "b"}}, namespace="n")
    assert (caught.value.code, caught.value.causes[0].reason) == (403, "NamespaceTerminating")
    plain = api.update("namespaces", marked | {"spec": {"finalizers": []}})
    assert plain["spec"]["finalizers"] == ["kubernetes"]
    api.update("namespaces", marked | {"spec": {"finalizers": []}}, subresource="finalize")
    assert not api.exists("namespaces", "n")


def test_delete_collection_takes_what_is_selected(api: Any) -> None:
    for name, team in (("a", "x"), ("b", "y"), ("c", "x")):
        api.create("configmaps", {"metadata": {"name": name, "labels": {"team": team}}})
    resource = api.resource("configmaps")
    gone = api.registry.delete_collection(resource, "default", SYSTEM, label_selector="team=x")
    assert [one["metadata"]["name"] for one in gone] == ["a", "c"]
    assert api.names("configmaps") == ["b"]


def test_a_definition_takes_its_objects_along(api: Any) -> None:
    api.create("customresourcedefinitions.apiextensions.k8s.io", definition())
    things = api.resource("things.example.com")
    api.create("things.example.com", {"metadata": {"name": "t"}, "spec": {}})
    api.delete("customresourcedefinitions.apiextensions.k8s.io", "things.example.com")
    assert api.registry.resources.find("example.com", "v1", "things") is None
    assert len(api.registry.collection(things)) == 0


def budget(allowed: int) -> dict[str, Any]:
    return {"status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1}}


def evict(api: Any, **options: Any) -> dict[str, Any]:
    body = {"metadata": {"name": "p"}, "deleteOptions": options}
    made: dict[str, Any] = api.registry.create_subresource(
        api.resource("pods"), "default", "p", "eviction", body, SYSTEM
    )
    return made


def test_eviction_respects_disruption_budgets(api: Any) -> None:
    running_pod(api)
    api.patch("pods", "p", "merge", {"metadata": {"labels": {"app": "x"}}})
    api.create("poddisruptionbudgets.policy", VALID["poddisruptionbudgets.policy"])
    api.patch("poddisruptionbudgets.policy", "a", "merge", budget(0), subresource="status")
    with pytest.raises(StatusError, match="would violate the pod's disruption budget") as caught:
        evict(api)
    assert (caught.value.code, caught.value.causes[0].reason) == (429, "DisruptionBudget")
    api.patch("poddisruptionbudgets.policy", "a", "merge", budget(1), subresource="status")
    evict(api, gracePeriodSeconds=0)
    assert not api.exists("pods", "p")
    assert api.get("poddisruptionbudgets.policy", "a")["status"]["disruptionsAllowed"] == 0


def test_eviction_may_be_tied_to_one_pod_by_uid(api: Any) -> None:
    running_pod(api)
    with pytest.raises(StatusError) as caught:
        evict(api, preconditions={"uid": "other"})
    assert caught.value.code == 409


def test_eviction_tells_the_owner_that_the_pod_did_not_fail_itself(api: Any) -> None:
    running_pod(api)
    evict(api, dryRun=["All"])
    assert not api.get("pods", "p")["metadata"].get("deletionTimestamp")

    version = api.get("pods", "p")["metadata"]["resourceVersion"]
    evict(api, preconditions={"resourceVersion": version}, gracePeriodSeconds=30)

    pod = api.get("pods", "p")
    assert pod["metadata"]["deletionTimestamp"]
    (told,) = (one for one in pod["status"]["conditions"] if one["type"] == "DisruptionTarget")
    assert (told["status"], told["reason"]) == ("True", "EvictionByEvictionAPI")
