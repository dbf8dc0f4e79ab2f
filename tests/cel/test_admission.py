"""Expressions of admission policies: their variables, composition, and the objects and patches they build."""

from typing import Any

import pytest

from aliquot.cel import CompileError, Environment, EvaluationError

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "labels": {"app/x": "1"}},
    "spec": {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}], "priority": 5},
}
REQUEST = {
    "operation": "CREATE",
    "name": "a",
    "namespace": "team",
    "kind": {"group": "", "version": "v1", "kind": "Pod"},
    "resource": {"group": "", "version": "v1", "resource": "pods"},
    "userInfo": {"username": "system:admin", "groups": ["system:masters"]},
}
NAMESPACE = {"metadata": {"name": "team", "labels": {"a": "b"}, "creationTimestamp": "2024-01-01T00:00:00Z"}}
VALUES: dict[str, Any] = {
    "object": POD,
    "oldObject": None,
    "request": REQUEST,
    "params": {"max": 3},
    "namespaceObject": NAMESPACE,
}
MUTATION = Environment.for_admission(mutation=True)


@pytest.mark.parametrize(
    "text",
    [
        "object.metadata.name == request.name && oldObject == null && request.operation == 'CREATE'",
        "object.spec.containers.all(c, has(c.resources) && 'nvidia.com/gpu' in c.resources.limits)",
        "object.metadata.labels['app/x'] == '1' && !has(object.metadata.annotations)",
        "object.spec.priority > params.max && object.spec.priority == 5",
        "request.userInfo.groups.exists(g, g == 'system:masters') && !has(request.userInfo.extra)",
        "request.kind.kind == 'Pod' && request.resource.resource == 'pods' && !has(request.dryRun)",
        "namespaceObject.metadata.name == 'team' && namespaceObject.metadata.labels.a == 'b'",
        "namespaceObject.metadata.creationTimestamp < timestamp('2025-01-01T00:00:00Z')",
        "quantity(object.spec.containers[0].resources.limits['nvidia.com/gpu']) == quantity('1')",
        "object.?spec.?nodeName.orValue('') == '' && !object.?spec.?nodeName.hasValue()",
        "object.spec.containers.map(c, c.name) == ['c']",
    ],
)
def test_condition_holds(text: str) -> None:
    assert MUTATION.compile(text, expect=("bool",)).evaluate(VALUES) is True


@pytest.mark.parametrize(
    ("text", "expect", "message"),
    [
        ("object.spec.priority", ("bool",), "must evaluate to bool but got dyn"),
        ("'a'", ("bool",), "must evaluate to bool but got string"),
        ("1", ("string", "null"), "must evaluate to one of [string null] but got int"),
        ("request.nope == ''", (), "undefined field 'nope'"),
        ("namespaceObject.spec.nope == ''", (), "undefined field 'nope'"),
        ("variables.nope", (), "undefined field 'nope'"),
        ("JSONPatch{nope: 1}", (), "undefined field 'nope'"),
        ("JSONPatch{op: 1}", (), "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("Other{a: 1}", (), "undeclared reference to 'Other'"),
        ("device.driver == ''", (), "undeclared reference to 'device'"),
    ],
)
def test_condition_is_refused(text: str, expect: tuple[str, ...], message: str) -> None:
    with pytest.raises(CompileError) as refused:
        MUTATION.compile(text, expect=expect)
    assert message in str(refused.value)


def test_only_mutations_build_objects_and_only_policies_with_params_read_them() -> None:
    with pytest.raises(CompileError, match="undeclared reference to 'Object'"):
        Environment.for_admission().compile("Object{}")
    with pytest.raises(CompileError, match="undeclared reference to 'jsonpatch'"):
        Environment.for_admission().compile("jsonpatch.escapeKey('a')")
    with pytest.raises(CompileError, match="undeclared reference to 'params'"):
        Environment.for_admission(params=False).compile("params.x == 1")
    with pytest.raises(CompileError, match="undeclared reference to 'authorizer'"):
        Environment.for_admission(authorizer=False).compile("authorizer.path('/').check('get').allowed()")


def test_variables_see_the_ones_before_and_are_evaluated_when_read() -> None:
    environment = Environment.for_admission(
        variables={
            "gpus": "object.spec.containers.filter(c, 'nvidia.com/gpu' in c.resources.limits)",
            "wanted": "size(variables.gpus) > 0",
            "broken": "object.spec.nope.deeper",
        }
    )
    assert environment.compile("variables.wanted && variables.gpus[0].name == 'c'").evaluate(VALUES) is True
    assert environment.compile("has(variables.wanted)").evaluate(VALUES) is True
    with pytest.raises(
        EvaluationError, match='composited variable "broken" fails to evaluate: no such key: nope'
    ):
        environment.compile("variables.broken == 1").evaluate(VALUES)
    with pytest.raises(CompileError, match="no matching overload"):
        environment.compile("variables.wanted + 1 == 2")


def test_a_variable_that_does_not_compile_is_named() -> None:
    with pytest.raises(
        CompileError, match=r"variable 'second': compilation failed: .*undefined field 'third'"
    ):
        Environment.for_admission(variables={"first": "1", "second": "variables.third", "third": "2"})


def test_the_cost_of_variables_counts_once_each() -> None:
    environment = Environment.for_admission(variables={"many": "object.items.map(x, x + 1)"})
    values = {"object": {"items": list(range(100))}}
    _, once = environment.compile("variables.many.size() == 100").measure(values)
    _, twice = environment.compile("variables.many.size() == 100 && variables.many.size() == 100").measure(
        values
    )
    # The second reading costs two steps, a call of size and a comparison; the loop is not run again.
    assert once > 100 * 12
    assert twice - once == 4
    with pytest.raises(EvaluationError, match="cost limit"):
        environment.compile("variables.many.size() == 100").evaluate(values, once - 1)


def test_an_apply_configuration_becomes_plain_json() -> None:
    text = """
        Object{
          metadata: Object.metadata{labels: {"queue": "a"}},
          spec: Object.spec{
            schedulingGates: [Object.spec.schedulingGates{name: "aliquot.dev/placement"}],
            ?priority: object.?spec.?priority,
            ?nodeName: object.?spec.?nodeName
          }
        }"""
    result = MUTATION.compile(text, expect=("Object",)).evaluate(VALUES)
    assert result == {
        "metadata": {"labels": {"queue": "a"}},
        "spec": {"schedulingGates": [{"name": "aliquot.dev/placement"}], "priority": 5},
    }
    assert type(result) is dict
    assert type(result["spec"]) is dict


def test_a_json_patch_becomes_a_list_of_operations() -> None:
    text = """
        has(object.metadata.annotations)
          ? [JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("a/b"), value: "c"}]
          : [JSONPatch{op: "test", path: "/spec/priority", value: 5},
             JSONPatch{op: "add", path: "/metadata/annotations", value: {"a/b": "c"}},
             JSONPatch{op: "move", path: "/x", from: "/y"},
             JSONPatch{op: "add", path: "/spec/gates/-", value: Object.spec.gates{name: "g"}}]"""
    program = MUTATION.compile(text, expect=("list<JSONPatch>",))
    assert program.evaluate(VALUES) == [
        {"op": "test", "path": "/spec/priority", "value": 5},
        {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "c"}},
        {"op": "move", "path": "/x", "from": "/y"},
        {"op": "add", "path": "/spec/gates/-", "value": {"name": "g"}},
    ]
    annotated = {**VALUES, "object": {**POD, "metadata": {"annotations": {}}}}
    assert program.evaluate(annotated) == [{"op": "add", "path": "/metadata/annotations/a~1b", "value": "c"}]


@pytest.mark.parametrize(
    "text",
    [
        "Object{spec: Object.metadata{a: 1}}",
        "Object{spec: Object.spec{containers: [Object.spec.volumes{name: 'a'}]}}",
    ],
)
def test_an_object_in_the_wrong_field_is_an_error(text: str) -> None:
    with pytest.raises(EvaluationError, match="which matches field name path from root Object type"):
        MUTATION.compile(text).evaluate({})


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1u", 1),
        ("b'ab'", "YWI="),
        ("duration('90s')", "90s"),
        ("timestamp('2024-01-01T00:00:00Z')", "2024-01-01T00:00:00Z"),
        ("quantity('1024Mi')", "1Gi"),
        ("{'a': [1.5, 2.5], 'b': [0.5]}", {"a": [1.5, 2.5], "b": [0.5]}),
        ("optional.of('a')", "a"),
        ("null", None),
        ("ip('::1')", "::1"),
    ],
)
def test_results_are_plain_json(text: str, plain: Any) -> None:
    result = MUTATION.compile(text).evaluate({})
    assert result == plain
    assert type(result) is type(plain)


@pytest.mark.parametrize("text", ["type(1)", "optional.none()", "{1: 'a'}"])
def test_results_without_a_json_form_are_errors(text: str) -> None:
    with pytest.raises(EvaluationError, match="has no JSON form"):
        MUTATION.compile(text).evaluate({})


def test_a_value_that_breaks_its_declared_type_is_an_evaluation_error() -> None:
    values = {"request": {"namespace": None, "userInfo": {"groups": "x"}}, "object": {"a": [{}] * 3}}
    for text in (
        "request.namespace.startsWith('a')",
        "request.namespace < 'a'",
        "request.userInfo.groups.sum() == 1",
    ):
        try:
            program = MUTATION.compile(text)
        except CompileError:
            continue
        with pytest.raises(EvaluationError):
            program.evaluate(values)


def test_deeply_nested_input_is_an_evaluation_error() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    for text in ("object == object", "object"):
        with pytest.raises(EvaluationError, match="nested too deeply"):
            MUTATION.compile(text).evaluate({"object": nested})
