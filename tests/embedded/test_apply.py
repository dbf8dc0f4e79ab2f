"""Server-side apply: ownership, conflicts, what is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.embedded.fieldsets import from_fields, shown, to_fields
from aliquot.embedded.status import StatusError

Object = dict[str, Any]


def config(data: dict[str, str], name: str = "a", **meta: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}, "data": data}


def apply(api: Any, data: dict[str, str], manager: str, force: bool = False, **meta: Any) -> Object:
    return api.patch("configmaps", "a", "apply", config(data, **meta), field_manager=manager, force=force)


def managers(obj: Object) -> dict[str, set[str]]:
    return {
        entry["manager"]: {shown(path) for path in from_fields(entry["fieldsV1"])}
        for entry in obj["metadata"].get("managedFields", [])
    }


def test_applying_creates_and_owns_what_was_declared(api: Any) -> None:
    made = apply(api, {"x": "1"}, "one", labels={"l": "v"})
    assert made["data"] == {"x": "1"}
    assert managers(made) == {"one": {".data.x", ".metadata.labels.l"}}
    entry = made["metadata"]["managedFields"][0]
    assert (entry["operation"], entry["apiVersion"]) == ("Apply", "v1")


def test_applying_the_same_again_changes_nothing(api: Any) -> None:
    made = apply(api, {"x": "1"}, "one")
    api.clock.pass_by(60)
    assert apply(api, {"x": "1"}, "one") == made


def test_two_managers_own_their_own_fields(api: Any) -> None:
    apply(api, {"x": "1"}, "one")
    made = apply(api, {"y": "2"}, "two")
    assert made["data"] == {"x": "1", "y": "2"}
    assert managers(made) == {"one": {".data.x"}, "two": {".data.y"}}


def test_a_field_that_is_no_longer_declared_goes(api: Any) -> None:
    apply(api, {"x": "1", "y": "1"}, "one")
    assert apply(api, {"x": "1"}, "one")["data"] == {"x": "1"}


def test_a_field_that_another_still_declares_stays(api: Any) -> None:
    apply(api, {"x": "1", "y": "1"}, "one")
    apply(api, {"y": "1"}, "two")
    made = apply(api, {"x": "1"}, "one")
    assert made["data"] == {"x": "1", "y": "1"}
    assert managers(made) == {"one": {".data.x"}, "two": {".data.y"}}


def test_changing_what_another_owns_is_a_conflict_that_names_field_and_owner(api: Any) -> None:
    apply(api, {"x": "1"}, "one")
    with pytest.raises(StatusError) as caught:
        apply(api, {"x": "2"}, "two")
    error = caught.value
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert [(cause.reason, cause.field) for cause in error.causes] == [("FieldManagerConflict", ".data.x")]
    assert api.get("configmaps", "a")["data"] == {"x": "1"}


def test_the_same_value_is_shared_without_conflict(api: Any) -> None:
    apply(api, {"x": "1"}, "one")
    assert managers(apply(api, {"x": "1"}, "two")) == {"one": {".data.x"}, "two": {".data.x"}}


def test_force_takes_a_field_over(api: Any) -> None:
    apply(api, {"x": "1", "y": "1"}, "one")
    made = apply(api, {"x": "2"}, "two", force=True)
    assert made["data"] == {"x": "2", "y": "1"}
    assert managers(made) == {"one": {".data.y"}, "two": {".data.x"}}


def test_an_update_takes_ownership_of_what_it_changes(api: Any) -> None:
    made = apply(api, {"x": "1", "y": "1"}, "one")
    made["data"]["x"] = "2"
    after = api.update("configmaps", made, field_manager="edit")
    assert managers(after) == {"one": {".data.y"}, "edit": {".data.x"}}
    with pytest.raises(StatusError, match=r'conflict with "edit" using v1 at 2026-01-01T12:00:00Z: .data.x'):
        apply(api, {"x": "1", "y": "1"}, "one")


def test_objects_never_tracked_belong_to_those_before_the_first_apply(api: Any) -> None:
    api.create("configmaps", {"metadata": {"name": "a"}, "data": {"x": "1"}})
    with pytest.raises(StatusError, match=r"before-first-apply"):
        apply(api, {"x": "2"}, "one")


def test_writes_without_a_manager_keep_untracked_objects_untracked(api: Any) -> None:
    made = api.create("configmaps", {"metadata": {"name": "a"}, "data": {"x": "1"}})
    made["data"]["x"] = "2"
    assert "managedFields" not in api.update("configmaps", made)["metadata"]


def test_managed_fields_are_reset_by_a_list_with_an_empty_entry(api: Any) -> None:
    apply(api, {"x": "1"}, "one")
    after = api.patch("configmaps", "a", "merge", {"metadata": {"managedFields": [{}]}}, field_manager="m")
    assert "managedFields" not in after["metadata"]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ({"metadata": {"name": "a"}}, "apiVersion must be set"),
        (config({}, managedFields=[{"manager": "x"}]), "managedFields must be nil"),
        (config({}) | {"dta": {}}, r"\.dta: field not declared in schema"),
        (config({"x": 1}), "cannot unmarshal number"),  # type: ignore[dict-item]
        (config({}, name="b"), "does not match the name on the URL"),
    ],
)
def test_configurations_that_cannot_be_applied(api: Any, body: Object, match: str) -> None:
    api.create("configmaps", {"metadata": {"name": "a"}})
    with pytest.raises(StatusError, match=match) as caught:
        api.patch("configmaps", "a", "apply", body, field_manager="one")
    assert caught.value.code == 400


def pod(*containers: Object, **spec: Any) -> Object:
    meta = {"name": "p"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": list(containers), **spec},
    }


def test_list_items_have_owners_by_their_keys(api: Any) -> None:
    gates = [{"name": "x.io/a"}]
    body = pod({"name": "c", "image": "i", "ports": [{"containerPort": 80}]}, schedulingGates=gates)
    made = api.patch("pods", "p", "apply", body, field_manager="one")
    owned = managers(made)["one"]
    assert '.spec.containers[name="c"].image' in owned
    assert '.spec.containers[name="c"].ports[containerPort=80,protocol="TCP"]' in owned
    assert '.spec.schedulingGates[name="x.io/a"]' in owned
    assert '.spec.containers[name="c"].imagePullPolicy' not in owned


def test_a_list_item_no_longer_declared_goes_and_others_stay(api: Any) -> None:
    container = {"name": "c", "image": "i"}
    gates = [{"name": "x.io/a"}, {"name": "x.io/b"}]
    api.patch("pods", "p", "apply", pod(container, schedulingGates=gates), field_manager="one")
    made = api.patch("pods", "p", "apply", pod(container, schedulingGates=gates[:1]), field_manager="one")
    assert made["spec"]["schedulingGates"] == gates[:1]


def test_status_is_applied_through_its_subresource_only(api: Any) -> None:
    api.patch("pods", "p", "apply", pod({"name": "c", "image": "i"}), field_manager="one")
    conditions = [{"type": "Ready", "status": "True"}]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "status": {"conditions": conditions},
    }
    made = api.patch("pods", "p", "apply", body, field_manager="kubelet", subresource="status")
    assert made["status"]["conditions"][-1]["type"] == "Ready"
    assert made["spec"]["containers"][0]["image"] == "i"
    entries = {entry["manager"]: entry.get("subresource") for entry in made["metadata"]["managedFields"]}
    assert entries == {"one": None, "kubelet": "status"}


STEP = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
PATHS = st.frozensets(st.lists(STEP, min_size=1, max_size=4).map(tuple), max_size=12)


@given(PATHS)
@settings(max_examples=100, deadline=None)
def test_fields_are_written_and_read_back_exactly(paths: frozenset[tuple[str, ...]]) -> None:
    assert from_fields(to_fields(paths)) == paths


DATA = st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), DATA), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_what_is_there_is_exactly_what_some_manager_declares(steps: list[tuple[str, dict[str, str]]]) -> None:
    """With force, the last declaration of a field wins; a field that nobody declares any more is gone."""
    from datetime import UTC, datetime

    from aliquot.embedded.registry import SYSTEM, Registry
    from aliquot.embedded.storage import Store

    count = iter(range(1, 10_000))
    registry = Registry(Store(), lambda: datetime(2026, 1, 1, tzinfo=UTC), lambda: f"u{next(count)}")
    maps = registry.resources.named("configmaps")
    declared: dict[str, set[str]] = {"one": set(), "two": set()}
    values: dict[str, str] = {}
    made: Object = {}
    for manager, data in steps:
        made = registry.patch(
            maps, "default", "a", "apply", config(data), SYSTEM, field_manager=manager, force=True
        )
        for key, value in data.items():
            if values.get(key, value) != value:
                for others in declared.values():
                    others.discard(key)
            values[key] = value
        declared[manager] = set(data)
        values = {key: value for key, value in values.items() if any(key in one for one in declared.values())}
        assert made.get("data", {}) == values


def test_the_part_that_a_request_cannot_write_is_not_owned(api: Any) -> None:
    body = pod({"name": "c", "image": "i"}) | {"status": {"phase": "Running"}}
    made = api.patch("pods", "p", "apply", body, field_manager="one")
    assert made["status"]["phase"] == "Pending"
    assert not any(path.startswith(".status") for path in managers(made)["one"])
    made = api.patch("pods", "p", "apply", body, field_manager="kubelet", subresource="status")
    assert made["status"]["phase"] == "Running"
    assert managers(made)["kubelet"] == {".status.phase"}
