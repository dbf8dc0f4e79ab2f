"""Custom kinds: what a definition must be, and what its schema does to objects."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from documents import SCHEMA, definition

from aliquot.embedded.customresources.structural import StructuralSchema
from aliquot.embedded.http.tables.custom import select, steps
from aliquot.embedded.status import StatusError

Object = dict[str, Any]
CRDS = "customresourcedefinitions.apiextensions.k8s.io"
THINGS = "things.example.com"


@pytest.fixture
def things(api: Any) -> Any:
    api.create(CRDS, definition())
    return api


def thing(name: str = "t", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": spec}


def test_a_definition_is_established_and_served_at_once(things: Any) -> None:
    made = things.get(CRDS, "things.example.com")
    assert {one["type"]: one["status"] for one in made["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert made["status"]["storedVersions"] == ["v1"]
    resource = things.resource(THINGS)
    assert (resource.kind, resource.list_name, resource.singular_name) == ("Thing", "ThingList", "thing")


def test_defaults_are_filled_in_and_unknown_fields_dropped(things: Any) -> None:
    made = things.create(THINGS, thing(unknown=1, free={"any": [1, {"thing": None}]}, parts=[{"name": "a"}]))
    assert made["spec"] == {
        "size": 3,
        "kind": "a",
        "free": {"any": [1, {"thing": None}]},
        "parts": [{"name": "a"}],
    }


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"size": "3"}, "spec.size", 'must be of type integer: "string"'),
        ({"size": 0}, "spec.size", "should be greater than or equal to 1"),
        ({"kind": "c"}, "spec.kind", 'supported values: "a", "b"'),
        ({"parts": [{}]}, "spec.parts[0].name", "Required value"),
        ({"parts": [{"name": "a"}, {"name": "a"}]}, "spec.parts[1]", "Duplicate value"),
        ({"parts": [{"name": "a", "amount": 1.5}]}, "spec.parts[0].amount", "must be of type integer,string"),
        ({"parts": {}}, "spec.parts", 'must be of type array: "object"'),
        ({"size": 100}, "spec", "too big"),
    ],
)
def test_a_wrong_object_is_told_which_field_is_wrong(
    things: Any, spec: Object, field: str, message: str
) -> None:
    with pytest.raises(StatusError) as caught:
        things.create(THINGS, thing(**spec))
    assert caught.value.code == 422
    assert [(one.field, message in one.message) for one in caught.value.causes] == [(field, True)]


def test_rules_compare_with_the_object_before(things: Any) -> None:
    things.create(THINGS, thing(size=5))
    things.patch(THINGS, "t", "merge", {"spec": {"size": 6}})
    with pytest.raises(StatusError, match=r"spec\.size: Invalid value: .*must not shrink"):
        things.patch(THINGS, "t", "merge", {"spec": {"size": 4}})


def test_fields_named_as_words_of_cel_are_written_with_underscores_in_rules() -> None:
    rule = "!has(self.__namespace__) || self.__namespace__ == 'a'"
    schema = StructuralSchema(
        "X",
        "v1",
        {
            "type": "object",
            "properties": {"namespace": {"type": "string"}},
            "x-kubernetes-validations": [{"rule": rule}],
        },
    )
    assert schema.rule_causes({"namespace": "a"}, None) == []
    assert len(schema.rule_causes({"namespace": "b"}, None)) == 1
    assert schema.rule_causes({}, None) == []


def test_status_is_a_subresource(things: Any) -> None:
    made = things.create(THINGS, thing() | {"status": {"phase": "x"}})
    assert "status" not in made
    after = things.patch(
        THINGS, "t", "merge", {"status": {"phase": "y"}, "spec": {"size": 9}}, subresource="status"
    )
    assert (after["status"], after["spec"]["size"]) == ({"phase": "y"}, 3)
    assert after["metadata"]["generation"] == 1


def test_selectable_fields_select_also_what_was_there_before(api: Any) -> None:
    without = definition()
    without["spec"]["versions"][0].pop("selectableFields")
    api.create(CRDS, without)
    api.create(THINGS, thing("x", kind="a"))
    api.create(THINGS, thing("y", kind="b"))
    with pytest.raises(StatusError, match="field label not supported"):
        api.names(THINGS, field_selector="spec.kind=b")
    api.patch(CRDS, "things.example.com", "merge", {"spec": definition()["spec"]})
    assert api.names(THINGS, field_selector="spec.kind=b") == ["y"]


def test_strategic_merge_is_not_for_custom_kinds(things: Any) -> None:
    things.create(THINGS, thing())
    with pytest.raises(StatusError) as caught:
        things.patch(THINGS, "t", "strategic", {"spec": {"size": 4}})
    assert caught.value.code == 415


def test_lists_merge_by_their_keys_when_applied(things: Any) -> None:
    def apply(manager: str, *parts: Object) -> Object:
        body = {"apiVersion": "example.com/v1", "kind": "Thing"} | thing(parts=list(parts))
        made: Object = things.patch(THINGS, "t", "apply", body, field_manager=manager)
        return made

    apply("one", {"name": "a", "amount": 1})
    made = apply("two", {"name": "b", "amount": 2})
    assert made["spec"]["parts"] == [{"name": "a", "amount": 1}, {"name": "b", "amount": 2}]
    assert apply("one", {"name": "c"})["spec"]["parts"] == [{"name": "b", "amount": 2}, {"name": "c"}]


def test_all_served_versions_show_the_same_objects(api: Any) -> None:
    two = definition()
    second = copy.deepcopy(two["spec"]["versions"][0]) | {"name": "v2", "storage": False}
    two["spec"]["versions"].append(second)
    api.create(CRDS, two)
    newer = api.registry.resources.find("example.com", "v2", "things")
    api.create(THINGS, thing())
    seen = api.registry.get(newer, "default", "t")
    assert (seen["apiVersion"], seen["spec"]["size"]) == ("example.com/v2", 3)


def changed(**changes: Any) -> Object:
    made = definition()
    made["spec"] |= changes
    return made


def with_schema(schema: Any) -> Object:
    made = definition()
    made["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": schema}
    return made


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (changed(group="other.com"), "metadata.name"),
        (changed(scope="Planet"), "spec.scope"),
        (changed(versions=[]), "spec.versions"),
        (changed(names={"plural": "things"}), "spec.names.kind"),
        (changed(conversion={"strategy": "Webhook"}), "spec.conversion.strategy"),
        (with_schema(None), "spec.versions[0].schema.openAPIV3Schema"),
        (with_schema({"type": "string"}), "spec.validation.openAPIV3Schema.type"),
        (
            with_schema({"type": "object", "properties": {"a": {}}}),
            "spec.validation.openAPIV3Schema.properties[a].type",
        ),
        (
            with_schema({"type": "object", "properties": {"a": {"type": "array"}}}),
            "spec.validation.openAPIV3Schema.properties[a].items",
        ),
        (
            with_schema({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            "spec.validation.openAPIV3Schema.properties[a].pattern",
        ),
        (
            with_schema({"type": "object", "x-kubernetes-validations": [{"rule": "self."}]}),
            "spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule",
        ),
    ],
)
def test_a_wrong_definition_is_told_which_field_is_wrong(api: Any, document: Object, field: str) -> None:
    with pytest.raises(StatusError) as caught:
        api.create(CRDS, document)
    assert caught.value.code == 422
    assert field in [cause.field for cause in caught.value.causes]
    assert api.registry.resources.find("example.com", "v1", "things") is None


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "abc"], ["a", "abcd"]),
        ({"type": "string", "pattern": "^a+$"}, ["aa"], ["ab"]),
        ({"type": "string", "format": "date-time"}, ["2026-01-01T00:00:00Z"], ["2026-01-01", "x"]),
        ({"type": "number", "maximum": 2, "exclusiveMaximum": True}, [1.5], [2, 3]),
        ({"type": "number", "multipleOf": 0.5}, [1.5, 2], [1.25]),
        ({"type": "integer", "format": "int32"}, [2**31 - 1, 3.0], [2**31, 1.5]),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
            [["a"]],
            [[], ["a"] * 3],
        ),
        (
            {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            [["a", "b"]],
            [["a", "a"]],
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "b"}]),
        (
            {"type": "object", "maxProperties": 1, "x-kubernetes-preserve-unknown-fields": True},
            [{}],
            [{"a": 1, "b": 2}],
        ),
        ({"x-kubernetes-int-or-string": True}, [1, "a"], [1.5, True, []]),
        ({"type": "integer", "oneOf": [{"minimum": 5}, {"maximum": 1}]}, [7, 0], [3]),
        ({"type": "integer", "not": {"enum": [3]}}, [4], [3]),
        ({"type": "integer", "allOf": [{"minimum": 2}, {"maximum": 4}]}, [3], [1, 5]),
        ({"type": "string", "nullable": True}, [None, "a"], [1]),
        ({"type": "boolean"}, [True], [1, "true"]),
    ],
)
def test_keywords_of_schemas(schema: Object, good: list[Any], bad: list[Any]) -> None:
    wrapped = StructuralSchema("X", "v1", {"type": "object", "properties": {"v": schema}})
    for value in good:
        conformed = wrapped.conform({"v": value})
        assert (conformed.causes, conformed.unknown) == ([], []), value
        assert conformed.obj["v"] == value
    for value in bad:
        assert wrapped.conform({"v": value}).causes, value


def test_conforming_does_not_change_what_was_given() -> None:
    given = {"metadata": {"name": "a"}, "spec": {"unknown": 1, "free": {"a": []}}}
    before = copy.deepcopy(given)
    made = StructuralSchema("Thing", "v1", SCHEMA).conform(given)
    made.obj["spec"]["free"]["a"].append(1)
    assert given == before
    assert made.unknown == ["spec.unknown"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".a.b", [1]),
        ("{.a.b}", [1]),
        (".list[0].n", ["x"]),
        (".list[*].n", ["x", "y"]),
        ('.list[?(@.n=="y")].v', [2]),
        (".list[-1].v", [2]),
        (".a.missing", []),
        (".list[9].n", []),
        (r".a['dotted.key']", [3]),
        (r".a.dotted\.key", [3]),
    ],
)
def test_json_paths_of_columns(path: str, expected: list[Any]) -> None:
    document = {"a": {"b": 1, "dotted.key": 3}, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}
    parsed = steps(path)
    assert parsed is not None
    assert select(document, parsed) == expected


@pytest.mark.parametrize("path", ["a.b", ".a[", ".a[?(@.b>1)]", ".."])
def test_json_paths_that_cannot_be_read_show_nothing(path: str) -> None:
    assert steps(path) is None


def test_an_object_cannot_be_replaced_unseen(things: Any) -> None:
    with pytest.raises(StatusError, match="not found"):
        things.update(THINGS, thing(size=4))
    things.create(THINGS, thing())
    with pytest.raises(StatusError, match=r"metadata\.resourceVersion: .*must be specified for an update"):
        things.update(THINGS, thing(size=4))
