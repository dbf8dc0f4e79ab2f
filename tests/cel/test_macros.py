"""Macros: loops over lists and maps, bindings, optional values."""

from collections.abc import Callable
from typing import Any

import pytest

from aliquot.cel import EvaluationError

Evaluate = Callable[..., Any]


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3].all(x, x > 0)",
        "![1, 2, 3].all(x, x > 1)",
        "[].all(x, false)",
        "[1, 2, 3].exists(x, x == 2)",
        "![].exists(x, true)",
        "[1, 2, 3].exists_one(x, x > 2)",
        "![1, 2, 3].exists_one(x, x > 1)",
        "[1, 2, 3].map(x, x * 2) == [2, 4, 6]",
        "[1, 2, 3].map(x, x > 1, x * 2) == [4, 6]",
        "[1, 2, 3].filter(x, x != 2) == [1, 3]",
        "{'a': 1, 'b': 2}.all(k, k < 'c')",
        "{'a': 1, 'b': 2}.exists(k, k == 'b')",
        "{'a': 1, 'b': 2}.map(k, k) == ['a', 'b']",
        "{'a': 1, 'b': 2}.filter(k, k == 'a') == ['a']",
        "[[1], [2, 3]].all(x, x.exists(y, y > 0))",
        "[1, 2].map(x, [1, 2].map(y, x * y)) == [[1, 2], [2, 4]]",
        "[1, 2].map(x, [x].map(x, x + 1)[0]) == [2, 3]",
        "[1, 0].exists(x, 1 / x == 1)",
        "[0, 1].exists(x, 1 / x == 1)",
        "![0, 2].all(x, 1 / x > 0)",
        "dyn([1, 2]).all(x, x > 0)",
        # two variables
        "[5, 6].all(i, v, v == i + 5)",
        "{'a': 1}.exists(k, v, k == 'a' && v == 1)",
        "[5, 6].exists_one(i, v, i == 1 && v == 6)",
        "[5, 6].existsOne(i, v, i == 1)",
        "[5, 6].transformList(i, v, i * v) == [0, 6]",
        "[5, 6].transformList(i, v, i > 0, v) == [6]",
        "[5, 6].transformMap(i, v, v + 1) == {0: 6, 1: 7}",
        "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 10) == {'b': 20}",
        "{'a': 'x'}.transformMapEntry(k, v, {v: k}) == {'x': 'a'}",
        "{'a': 'x', 'b': 'y'}.transformMapEntry(k, v, k == 'b', {v: k}) == {'y': 'b'}",
        # bindings
        "cel.bind(x, 1 + 2, x * x == 9)",
        "cel.bind(x, 1, cel.bind(x, x + 1, x == 2) && x == 1)",
        "cel.bind(all, [1, 2], all.all(x, x in all))",
        "[1, 2].map(x, cel.bind(y, x * 10, y + x)) == [11, 22]",
        # optionals
        "optional.of(1).value() == 1",
        "optional.of(1).hasValue()",
        "!optional.none().hasValue()",
        "optional.ofNonZeroValue(0) == optional.none()",
        "optional.ofNonZeroValue('a') == optional.of('a')",
        "optional.none().orValue(3) == 3",
        "optional.of(2).orValue(3) == 2",
        "optional.none().or(optional.of(1)).value() == 1",
        "optional.of(1).orValue(1 / 0) == 1",
        "{'a': {'b': 1}}.?a.?b == optional.of(1)",
        "{'a': {'b': 1}}.?a.b == optional.of(1)",
        "{'a': {'b': 1}}.?x.b == optional.none()",
        "{'a': 1}[?'a'].orValue(0) == 1",
        "{'a': 1}[?'b'].orValue(0) == 0",
        "[1, 2][?1].value() == 2",
        "[1, 2][?9].orValue(7) == 7",
        "[1, 2][?-1] == optional.none()",
        "optional.of([1, 2])[0] == optional.of(1)",
        "optional.of({'a': 1})['a'].value() == 1",
        "has({'a': {}}.?a.b) == false",
        "[?optional.of(1), ?optional.none(), 3] == [1, 3]",
        "{?'a': optional.of(1), ?'b': optional.none()} == {'a': 1}",
        "optional.of(2).optMap(x, x * 2).value() == 4",
        "optional.none().optMap(x, x * 2) == optional.none()",
        "optional.of(2).optFlatMap(x, optional.of(x + 1)).value() == 3",
        "optional.of(2).optFlatMap(x, optional.none()) == optional.none()",
        "optional.of(1).optMap(x, x + 1).optMap(x, x * 10).orValue(0) == 20",
        "[optional.of(1), optional.none()].unwrapOpt() == [1]",
        "optional.unwrap([optional.of(1), optional.none()]) == [1]",
        "[1, 2].first().value() == 1 && [1, 2].last().value() == 2",
        "[].first() == optional.none()",
        "object.?spec.?missing.orValue('x') == 'x'",
        "object.?spec.replicas.orValue(0) == 3",
    ],
)
def test_macro_gives_true(evaluate: Evaluate, text: str) -> None:
    assert evaluate(text, object={"spec": {"replicas": 3}}) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[0, 1].all(x, 1 / x > 0)", "division by zero"),
        ("[1, 0].exists_one(x, 1 / x == 1)", "division by zero"),
        ("[0].map(x, 1 / x).size() == 1", "division by zero"),
        ("object.all(x, true)", "got 'types.Int', expected iterable type"),
        ("'a' == 'b' || dyn('a').exists(x, true)", "got 'types.String', expected iterable type"),
        ("[1].all(x, dyn(x))", "no such overload"),
        ("[1].filter(x, dyn(x)).size() == 0", "no such overload"),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("['a', 'a'].transformMapEntry(i, v, {v: i}).size() == 1", "insert failed: key a already exists"),
        ("[?dyn(1)].size() == 1", "non-optional value"),
    ],
)
def test_macro_fails(evaluate: Evaluate, text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message.replace("(", r"\(").replace(")", r"\)")):
        evaluate(text, object=1)


def test_a_chain_of_optional_maps_takes_linear_time(evaluate: Evaluate) -> None:
    assert evaluate("optional.of(0)" + ".optMap(x, x + 1)" * 20 + ".value()") == 20
