"""JSON patch, JSON merge patch and strategic merge patch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.embedded import jsonpatch, strategic
from aliquot.embedded.schemas import kind_schema
from aliquot.embedded.status import StatusError

Object = dict[str, Any]

POD = kind_schema("", "v1", "Pod")
assert POD is not None
SHAPE = POD.root


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": {"b/c": 1, "d~": 2}}, [{"op": "remove", "path": "/a/b~1c"}], {"a": {"d~": 2}}),
        ({"a": {"d~": 2}}, [{"op": "remove", "path": "/a/d~0"}], {"a": {}}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
    ],
)
def test_json_patch_operations(document: Object, operations: list[Any], expected: Object) -> None:
    assert jsonpatch.apply(document, operations) == expected


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ([{"op": "remove", "path": "/missing"}], 422),
        ([{"op": "replace", "path": "/missing", "value": 1}], 422),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "add", "path": "/list/9", "value": 1}], 422),
        ([{"op": "add", "path": "/a/b/c", "value": 1}], 422),
        ([{"op": "remove", "path": ""}], 422),
        ([{"op": "replace", "path": "", "value": []}], 422),
        ([{"op": "add", "path": "a", "value": 1}], 400),
        ([{"op": "add", "path": "/a"}], 400),
        ([{"op": "frobnicate", "path": "/a"}], 422),
        ([{"path": "/a"}], 400),
        (["x"], 400),
        ([{"op": "add", "path": 3, "value": 1}], 400),
        ([{"op": "test", "path": "/a", "value": 1}] * 10_001, 413),
    ],
)
def test_json_patches_that_do_not_apply_are_refused(operations: list[Any], code: int) -> None:
    with pytest.raises(StatusError) as caught:
        jsonpatch.apply({"a": 1, "list": []}, operations)
    assert caught.value.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
DOCUMENT = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@given(DOCUMENT, DOCUMENT)
@settings(max_examples=100, deadline=None)
def test_a_merge_patch_makes_its_fields_so_and_applying_it_twice_changes_nothing_more(
    document: Object, patch: Object
) -> None:
    once = jsonpatch.merge(copy.deepcopy(document), patch)
    assert jsonpatch.merge(copy.deepcopy(once), patch) == once
    for key, value in patch.items():
        if value is None:
            assert key not in once
        elif not isinstance(value, dict):
            assert once[key] == value
    for key, value in document.items():
        if key not in patch:
            assert once[key] == value


@given(DOCUMENT)
@settings(max_examples=50, deadline=None)
def test_a_merge_patch_onto_nothing_is_the_patch_without_nulls(patch: Object) -> None:
    assert jsonpatch.merge({}, patch) == without_nulls(patch)


def containers(*images: tuple[str, str]) -> Object:
    return {"spec": {"containers": [{"name": name, "image": image} for name, image in images]}}


STRATEGIC = [
    (
        "a container merges by its name",
        containers(("a", "1"), ("b", "1")),
        containers(("b", "2")),
        containers(("a", "1"), ("b", "2")),
    ),
    (
        "a new container goes in front",
        containers(("a", "1")),
        containers(("b", "1")),
        containers(("b", "1"), ("a", "1")),
    ),
    (
        "delete by key",
        containers(("a", "1"), ("b", "1")),
        {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}},
        containers(("b", "1")),
    ),
    (
        "replace the list",
        containers(("a", "1"), ("b", "1")),
        {"spec": {"containers": [{"name": "c", "image": "1"}, {"$patch": "replace"}]}},
        containers(("c", "1")),
    ),
    (
        "replace the object",
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"c": "3", "$patch": "replace"}}},
        {"metadata": {"labels": {"c": "3"}}},
    ),
    (
        "null removes",
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None}}},
        {"metadata": {"labels": {"b": "2"}}},
    ),
    (
        "values of a set are added",
        {"metadata": {"finalizers": ["x/a"]}},
        {"metadata": {"finalizers": ["x/b", "x/a"]}},
        {"metadata": {"finalizers": ["x/b", "x/a"]}},
    ),
    (
        "values of a set are deleted",
        {"metadata": {"finalizers": ["x/a", "x/b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}},
        {"metadata": {"finalizers": ["x/b"]}},
    ),
    (
        "a list without a merge key is replaced",
        {"spec": {"tolerations": [{"key": "a"}]}},
        {"spec": {"tolerations": [{"key": "b"}]}},
        {"spec": {"tolerations": [{"key": "b"}]}},
    ),
    (
        "retained keys drop the others",
        {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
        {
            "spec": {
                "volumes": [{"name": "v", "hostPath": {"path": "/"}, "$retainKeys": ["name", "hostPath"]}]
            }
        },
        {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}},
    ),
    (
        "an order for the elements",
        containers(("a", "1"), ("b", "1"), ("c", "1")),
        {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}]}},
        containers(("c", "1"), ("a", "1"), ("b", "1")),
    ),
    (
        "an order that does not name all",
        containers(("a", "1"), ("x", "1"), ("b", "1")),
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
                "containers": [{"name": "b", "image": "2"}],
            }
        },
        containers(("b", "2"), ("x", "1"), ("a", "1")),
    ),
]


@pytest.mark.parametrize(
    ("document", "patch", "expected"), [case[1:] for case in STRATEGIC], ids=[case[0] for case in STRATEGIC]
)
def test_strategic_merge(document: Object, patch: Object, expected: Object) -> None:
    before = copy.deepcopy((document, patch))
    assert strategic.merge(document, patch, SHAPE) == expected
    assert (document, patch) == before


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"containers": [{"image": "x"}]}},
        {"spec": {"containers": ["x"]}},
        {"spec": {"$patch": "frobnicate"}},
        {"spec": {"$retainKeys": "x"}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}},
    ],
)
def test_malformed_strategic_patches_are_bad_requests(patch: Object) -> None:
    with pytest.raises(StatusError) as caught:
        strategic.merge(containers(("a", "1")), patch, SHAPE)
    assert caught.value.code == 400


def test_a_patch_with_a_version_is_refused_when_the_object_has_moved_on(api: Any) -> None:
    old = api.create("configmaps", {"metadata": {"name": "a"}})["metadata"]["resourceVersion"]
    api.patch("configmaps", "a", "merge", {"data": {"x": "1"}})
    with pytest.raises(StatusError) as caught:
        api.patch("configmaps", "a", "merge", {"metadata": {"resourceVersion": old}, "data": {"x": "2"}})
    assert caught.value.reason == "Conflict"


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("json", {}, 400),
        ("merge", [], 400),
        ("strategic", "x", 400),
        ("apply", [], 400),
        ("merge", {"metadata": 3}, 422),
        ("merge", {"metadata": {"name": "other"}}, 400),
        ("merge", {"data": {"x": 5}}, 422),
        ("merge", {"kind": "Secret"}, 422),
        ("application/octet-stream", {}, 415),
    ],
)
def test_patches_that_make_no_sense_change_nothing(api: Any, kind: str, body: Any, code: int) -> None:
    made = api.create("configmaps", {"metadata": {"name": "a"}})
    with pytest.raises(StatusError) as caught:
        api.patch("configmaps", "a", kind, body)
    assert caught.value.code == code
    assert api.get("configmaps", "a") == made


def test_copies_cannot_multiply_a_document_without_end() -> None:
    operations = [{"op": "copy", "from": "", "path": "/a/-"} for _ in range(60)]
    with pytest.raises(StatusError) as caught:
        jsonpatch.apply({"a": ["x" * 100]}, operations)
    assert caught.value.code == 413


def test_an_object_cannot_grow_without_end(api: Any) -> None:
    api.create("events", {"metadata": {"name": "a"}, "involvedObject": {"namespace": "default"}})
    with pytest.raises(StatusError) as caught:
        api.patch("events", "a", "merge", {"message": "x" * 3_200_000})
    assert (caught.value.code, caught.value.reason) == (413, "RequestEntityTooLarge")
