"""Objects in the registry: creation, reading, replacing, names, namespaces, versions."""

from __future__ import annotations

from typing import Any

import pytest

from aliquot.embedded.hooks import Completion, User, unchanged
from aliquot.embedded.registry import SYSTEM, Registry
from aliquot.embedded.resources import Resource
from aliquot.embedded.status import StatusError
from aliquot.embedded.storage import Store

Object = dict[str, Any]


def config_map(name: str = "a", **more: Any) -> Object:
    return {"metadata": {"name": name, **more}, "data": {"x": "1"}}


def test_creation_fills_in_what_the_server_owns(api: Any) -> None:
    made = api.create("configmaps", config_map(uid="mine", creationTimestamp="1999-01-01T00:00:00Z"))
    assert made["apiVersion"] == "v1"
    assert made["kind"] == "ConfigMap"
    meta = made["metadata"]
    assert meta["namespace"] == "default"
    assert meta["creationTimestamp"] == "2026-01-01T12:00:00Z"
    assert meta["uid"].startswith("00000000-")
    assert int(meta["resourceVersion"]) == api.registry.version


def test_generated_names_are_distinct_and_keep_their_prefix(api: Any) -> None:
    names = {
        api.create("configmaps", {"metadata": {"generateName": "job-"}})["metadata"]["name"]
        for _ in range(50)
    }
    assert len(names) == 50
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


def test_objects_handed_in_and_out_are_not_the_stored_ones(api: Any) -> None:
    given = config_map()
    made = api.create("configmaps", given)
    given["data"]["x"] = made["data"]["x"] = "changed"
    assert api.get("configmaps", "a")["data"] == {"x": "1"}
    items, _, _ = api.registry.list(api.resource("configmaps"))
    items[0]["data"]["x"] = "changed"
    assert api.get("configmaps", "a")["data"] == {"x": "1"}


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        (lambda api: api.create("configmaps", config_map()), 409, "AlreadyExists"),
        (lambda api: api.get("configmaps", "b"), 404, "NotFound"),
        (lambda api: api.create("configmaps", config_map("b"), namespace="nowhere"), 404, "NotFound"),
        (lambda api: api.create("configmaps", config_map("B_")), 422, "Invalid"),
        (lambda api: api.create("configmaps", {"metadata": {}}), 422, "Invalid"),
        (lambda api: api.create("configmaps", config_map("b", namespace="other")), 400, "BadRequest"),
        (lambda api: api.create("configmaps", config_map("b", resourceVersion="3")), 400, "BadRequest"),
        (lambda api: api.create("configmaps", config_map("b") | {"kind": "Secret"}), 400, "BadRequest"),
        (lambda api: api.create("configmaps", config_map("b", labels={"a b": "c"})), 422, "Invalid"),
        (lambda api: api.create("configmaps", config_map("b", labels={"a": "-"})), 422, "Invalid"),
        (lambda api: api.create("configmaps", config_map("b", labels={"a": 1})), 400, "BadRequest"),
        (lambda api: api.create("nodes", {"metadata": {"name": "n", "namespace": "x"}}), 400, "BadRequest"),
        (lambda api: api.update("configmaps", config_map("b")), 404, "NotFound"),
        (lambda api: api.update("configmaps", config_map(resourceVersion="1")), 409, "Conflict"),
        (lambda api: api.update("configmaps", config_map(uid="other")), 409, "Conflict"),
        (lambda api: api.delete("configmaps", "b"), 404, "NotFound"),
    ],
)
def test_refusals_have_the_code_and_reason_of_kubernetes(
    api: Any, change: Any, code: int, reason: str
) -> None:
    api.create("configmaps", config_map())
    before = api.registry.version
    with pytest.raises(StatusError) as caught:
        change(api)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert caught.value.to_status()["status"] == "Failure"
    assert api.registry.version == before


def test_messages_are_those_of_kubernetes(api: Any) -> None:
    api.create("configmaps", config_map())
    with pytest.raises(StatusError, match=r'^configmaps "a" already exists$'):
        api.create("configmaps", config_map())
    with pytest.raises(StatusError, match=r'^deployments.apps "x" not found$'):
        api.get("deployments.apps", "x")
    conflict = 'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply'
    with pytest.raises(StatusError, match=conflict):
        api.update("configmaps", config_map(resourceVersion="1"))


def test_an_update_that_changes_nothing_keeps_the_version(api: Any) -> None:
    made = api.create("configmaps", config_map())
    assert (
        api.update("configmaps", made)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    )


def test_generation_counts_changes_of_the_spec_only(api: Any) -> None:
    spec = {"driver": "d", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}
    made = api.create("resourceslices.resource.k8s.io", {"metadata": {"name": "s"}, "spec": spec})
    assert made["metadata"]["generation"] == 1
    made["metadata"]["labels"] = {"a": "b"}
    made = api.update("resourceslices.resource.k8s.io", made)
    assert made["metadata"]["generation"] == 1
    made["spec"]["pool"]["generation"] = 2
    assert api.update("resourceslices.resource.k8s.io", made)["metadata"]["generation"] == 2


def test_identity_and_deletion_cannot_be_changed_by_an_update(api: Any) -> None:
    made = api.create("configmaps", config_map())
    changed = made | {"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z", "generation": 9}}
    after = api.update("configmaps", changed)["metadata"]
    assert after["uid"] == made["metadata"]["uid"]
    assert "deletionTimestamp" not in after
    assert "generation" not in after


def test_a_dry_run_changes_nothing(api: Any) -> None:
    before = api.registry.version
    made = api.create("configmaps", config_map(), dry_run=True)
    assert made["metadata"]["uid"]
    assert not api.exists("configmaps", "a")
    api.create("configmaps", config_map())
    api.update("configmaps", config_map() | {"data": {"x": "2"}}, dry_run=True)
    api.delete("configmaps", "a", dry_run=True)
    assert api.get("configmaps", "a")["data"] == {"x": "1"}
    assert api.registry.version == before + 1


def test_lists_are_ordered_paged_and_versioned(api: Any) -> None:
    for name in ("c", "a", "b"):
        api.create("configmaps", config_map(name))
    api.create("namespaces", {"metadata": {"name": "aa"}})
    api.create("configmaps", config_map("z"), namespace="aa")
    assert api.names("configmaps") == ["z", "a", "b", "c"]
    assert api.names("configmaps", "default") == ["a", "b", "c"]
    resource = api.resource("configmaps")
    seen, token = [], None
    while token != "":
        page, version, token = api.registry.list(resource, limit=2, continue_=token)
        seen += [one["metadata"]["name"] for one in page]
    assert seen == ["z", "a", "b", "c"]
    assert version == str(api.registry.version)


def test_a_page_after_compaction_is_expired(api: Any) -> None:
    for name in ("a", "b"):
        api.create("configmaps", config_map(name))
    _, _, token = api.registry.list(api.resource("configmaps"), limit=1)
    api.create("configmaps", config_map("c"))
    api.registry.compact()
    with pytest.raises(StatusError) as caught:
        api.registry.list(api.resource("configmaps"), limit=1, continue_=token)
    assert caught.value.code == 410


@pytest.mark.parametrize("token", ["", "x", "!!", "e30", "W10"])
def test_a_made_up_page_token_is_a_bad_request(api: Any, token: str) -> None:
    if not token:
        return
    with pytest.raises(StatusError) as caught:
        api.registry.list(api.resource("configmaps"), continue_=token)
    assert caught.value.code == 400


def test_events_of_both_groups_are_the_same_objects(api: Any) -> None:
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    api.create(
        "events",
        {"metadata": {"name": "e"}, "involvedObject": about, "reason": "Waiting", "message": "no device"},
    )
    newer = api.get("events.events.k8s.io", "e")
    assert (newer["apiVersion"], newer["note"], newer["regarding"]["name"]) == (
        "events.k8s.io/v1",
        "no device",
        "p",
    )
    api.create(
        "events.events.k8s.io",
        {"metadata": {"name": "f"}, "regarding": about, "eventTime": "2026-01-01T00:00:00Z", "note": "n"},
    )
    assert api.get("events", "f")["message"] == "n"
    assert api.names("events", field_selector="involvedObject.name=p") == ["e", "f"]


class _Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def admit(
        self,
        operation: str,
        resource: Resource,
        subresource: str,
        namespace: str,
        name: str,
        obj: Object | None,
        old: Object | None,
        user: User,
        namespace_object: Object | None,
        dry_run: bool,
        completed: Completion = unchanged,
    ) -> Object | None:
        found = (namespace_object or {}).get("metadata", {}).get("name")
        self.seen.append((operation, resource.plural, subresource, name, found))
        if obj is not None and resource.plural == "pods" and operation == "CREATE" and not subresource:
            obj["spec"]["schedulingGates"] = [{"name": "example.com/gate"}]
        if name == "forbidden":
            raise StatusError(403, "Forbidden", "no")
        return obj if obj is None else completed(obj)


def test_admission_sees_every_write_and_may_change_it(api: Any, clock: Any) -> None:
    recorder = _Recorder()
    registry = Registry(Store(), clock, api.registry.uid, recorder)
    recorder.seen.clear()
    pods = registry.resources.named("pods")
    spec = {"containers": [{"name": "a", "image": "b"}]}
    made = registry.create(pods, "default", {"metadata": {"name": "p"}, "spec": spec}, SYSTEM)
    assert made["spec"]["schedulingGates"] == [{"name": "example.com/gate"}]
    made["spec"]["schedulingGates"] = []
    registry.update(pods, "default", "p", made, SYSTEM)
    registry.create_subresource(pods, "default", "p", "binding", {"target": {"name": "n"}}, SYSTEM)
    registry.patch(
        pods, "default", "p", "merge", {"status": {"phase": "Running"}}, SYSTEM, subresource="status"
    )
    registry.delete(pods, "default", "p", SYSTEM)
    assert recorder.seen == [
        ("CREATE", "pods", "", "p", "default"),
        ("UPDATE", "pods", "", "p", "default"),
        ("CREATE", "pods", "binding", "p", "default"),
        ("UPDATE", "pods", "status", "p", "default"),
        ("DELETE", "pods", "", "p", "default"),
    ]
    with pytest.raises(StatusError, match="no"):
        registry.create(pods, "default", {"metadata": {"name": "forbidden"}, "spec": spec}, SYSTEM)
    assert registry.find(pods, "default", "forbidden") is None
