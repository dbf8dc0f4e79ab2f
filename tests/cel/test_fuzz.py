"""Arbitrary texts and well-formed expressions: no crash, no hang, one answer however it is computed."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.cel import CompileError, DeviceView, Environment, EvaluationError, Quantity, Semver

DEVICES = Environment.for_devices(list_attributes=True)
ADMISSION = Environment.for_admission(mutation=True)
VIEW = DeviceView(
    "d", {"s": "text", "i": 3, "b": True, "v": Semver.parse("1.2.3"), "l": (1, 2)}, {"q": Quantity.of(7)}
)
OBJECT = {"s": "text", "i": 3, "n": None, "l": [1, 2, "x"], "m": {"a": 1.5}, "b": False}
FRAGMENTS = [
    "device",
    "object",
    ".",
    "attributes",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "'d'",
    '"',
    "'",
    "\\",
    "1",
    "0x",
    "1u",
    "2.5",
    "e9",
    "true",
    "null",
    "in",
    " ",
    "\n",
    "?",
    ":",
    ",",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "<",
    ".all(x,",
    ".map(",
    "x",
    "cel.bind(",
    "has(",
    ".?",
    "[?",
    "optional.of(",
    "size",
    "matches('",
    "quantity(",
    "//",
    "b'",
    "r'",
    "Object{",
    "JSONPatch{op:",
    "é",
    "\x00",
    "\ud800",
    "💥",
]


def check(environment: Environment, text: str, values: dict[str, object]) -> None:
    started = time.perf_counter()
    try:
        program = environment.compile(text)
    except CompileError:
        return
    outcomes = []
    for metered in (False, True):
        try:
            value, cost = program.measure(values, 10**7) if metered else (program.evaluate(values, 2**80), 0)
            # A constant list is a tuple where nothing is metered.
            outcomes.append(repr(value).replace("(", "[").replace(",)", "]").replace(")", "]"))
            assert cost <= program.ceiling
        except EvaluationError as error:
            if "cost limit" in error.message:
                return
            outcomes.append(error.message)
    assert outcomes[0] == outcomes[1]
    assert time.perf_counter() - started < 20


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    check(DEVICES, text, {"device": VIEW})
    check(ADMISSION, text, {"object": OBJECT})


atoms = st.sampled_from(
    [
        "1",
        "2",
        "0",
        "-3",
        "1u",
        "2.5",
        "0.0",
        "'text'",
        "''",
        "b'x'",
        "true",
        "false",
        "null",
        "[1, 2]",
        "['a']",
        "[]",
        "{'a': 1}",
        "{}",
        "duration('1s')",
        "timestamp('2024-01-01T00:00:00Z')",
        "quantity('1Ki')",
        "semver('1.2.3')",
        "optional.of(1)",
        "optional.none()",
        "ip('1.2.3.4')",
        "type(1)",
        "x",
        "dyn(1)",
        "dyn('text')",
    ]
)
binary = st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"])
calls = st.sampled_from(
    [
        "size({})",
        "string({})",
        "int({})",
        "{}.size()",
        "{}.map(x, {})",
        "{}.filter(x, {})",
        "{}.all(x, {})",
        "{}.exists(x, {})",
        "{}.exists_one(x, {})",
        "cel.bind(x, {}, {})",
        "{}[{}]",
        "{}[?{}]",
        "{}.a",
        "{}.?a",
        "has({}.a)",
        "!{}",
        "-{}",
        "{} ? {} : {}",
        "[{}, {}]",
        "{{'k': {}}}",
        "{}.orValue({})",
        "{}.optMap(x, {})",
        "{}.contains({})",
        "{}.split({})",
        "{}.matches({})",
        "{}.indexOf({})",
        "{}.isGreaterThan({})",
        "{}.add({})",
        "{}.transformMap(i, x, {})",
        "{}.sort()",
        "{}.flatten()",
        "{}.distinct()",
        "{}.sum()",
        "{}.format([{}])",
        "dyn({})",
        "type({})",
        "{}.join()",
        "sets.contains({}, {})",
        "{}.value()",
        "{}.sortBy(x, {})",
        "{}.getHours()",
        "{}.replace({}, {})",
        "{}.includes({})",
    ]
)


@st.composite
def expressions(draw: st.DrawFn, variable: str, depth: int = 3) -> str:
    """A well-formed expression, its operands hidden from the checker by dyn() half of the time."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(atoms, st.just(variable)))
    inner = expressions(variable, depth - 1)
    hidden = st.builds("{}({})".format, st.sampled_from(["", "dyn", "dyn", "dyn"]), inner)
    if draw(st.booleans()):
        return f"{draw(hidden)} {draw(binary)} {draw(hidden)}"
    template = draw(calls)
    return template.format(*[draw(hidden) for _ in range(template.count("{}"))])


attributes = st.sampled_from(["s", "i", "b", "v", "l", "nope"])


@settings(max_examples=300, deadline=None)
@given(expressions("device.attributes['d'].NAME"), attributes)
def test_selectors_give_one_answer_within_their_ceiling(text: str, name: str) -> None:
    text = text.replace("NAME", name)
    check(DEVICES, f"[1, 2].exists(x, {text} == {text})", {"device": VIEW})
    check(DEVICES, f"cel.bind(x, 1, dyn({text}))", {"device": VIEW})


@settings(max_examples=300, deadline=None)
@given(expressions("object"), st.sampled_from(["object", "object.l", "object.s", "object.m", "object.i"]))
def test_conditions_give_one_answer(text: str, path: str) -> None:
    check(ADMISSION, f"[1, 2].map(x, {text.replace('object', path)})", {"object": OBJECT})
    check(ADMISSION, text.replace("object", path), {"object": OBJECT})


def doubled(inner: str, names: str = "ab", levels: int = 30) -> str:
    """`inner` with lists bound that hold the one before twice: 2**30 elements in a few hundred characters."""
    bindings = [
        (f"{name}{level}", f"[{name}{level - 1}, {name}{level - 1}]" if level else "[1]")
        for name in names
        for level in range(levels)
    ]
    return "".join(f"cel.bind({name}, {value}, " for name, value in bindings) + inner + ")" * len(bindings)


@pytest.mark.parametrize(
    "text",
    [
        doubled("a14 == b14", levels=15) + " && " + doubled("a19 == b19", levels=20),
        doubled("'%s'.format([a29])", names="a"),
        doubled("a29.flatten(40)", names="a"),
        doubled("a29", names="a"),
        doubled("a29.indexOf(dyn(a28))", names="a"),
        "lists.range(30000).distinct()",
        "lists.range(1000000000000)",
        "sets.contains(lists.range(30000), lists.range(30000))",
        "cel.bind(a, [1, 2], " + "cel.bind(a, a + a, " * 40 + "size(a)" + ")" * 41,
        "cel.bind(a, 'xy', " + "cel.bind(a, a + a, " * 40 + "size(a)" + ")" * 41,
        "lists.range(10000).map(x, 'aaaaaaaaaa'.replace('', '" + "b" * 5000 + "'))",
        "lists.range(100000).map(x, lists.range(100000)).flatten()",
        "lists.range(1000).map(x, lists.range(1000).map(y, 'a').join('" + "b" * 5000 + "'))",
    ],
)
def test_expressions_made_to_exhaust_time_or_memory_are_stopped(text: str) -> None:
    started = time.perf_counter()
    with pytest.raises(
        EvaluationError, match=r"cost limit exceeded|more than .* steps|more than .* elements"
    ):
        ADMISSION.compile(text).evaluate({})
    assert time.perf_counter() - started < 10
