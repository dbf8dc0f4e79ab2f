"""The language itself: literals, operators, conversions, equality, errors that logic absorbs."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from aliquot.cel import CompileError, Environment, EvaluationError

Evaluate = Callable[..., Any]

TRUE = [
    # literals
    "0x1F == 31",
    "-0x10 == -16",
    "1u == dyn(1)",
    "1.5e3 == 1500.0",
    ".5 == 0.5",
    "1e-3 == 0.001",
    "-1.5 == 0.0 - 1.5",
    r"'\x41\u0042\U00000043\104' == 'ABCD'",
    r"r'\d' == '\\d'",
    "'''a'b''' == \"a'b\"",
    '"""a"b""" == \'a"b\'',
    r"b'\x00\377' == b'\000\xff'",
    "b'é' == b'\\xc3\\xa9'",
    r"'\a\b\f\n\r\t\v\?\`' == '\x07\x08\x0c\x0a\x0d\x09\x0b?`'",
    "9223372036854775807 > 0",
    "-9223372036854775808 < 0",
    "18446744073709551615u > 0u",
    "null == null",
    "{'a': 1}.a == 1",
    "{'a': 1}['a'] == 1",
    "[1, 2,][1] == 2",
    "{1: 'x',}[1] == 'x'",
    "// note\ntrue",
    # arithmetic
    "7 / 2 == 3",
    "-7 / 2 == -3",
    "7 % -3 == 1",
    "-7 % 3 == -1",
    "7u / 2u == 3u",
    "5.0 / 2.0 == 2.5",
    "--1 == 1",
    "-(3) == -3",
    "!!true",
    "2 + 3 * 4 == 14",
    "(2 + 3) * 4 == 20",
    "10 - 2 - 3 == 5",
    "'a' + 'b' == 'ab'",
    "b'a' + b'b' == b'ab'",
    "[1] + [2] == [1, 2]",
    "1.0 / 0.0 == double('Infinity')",
    "-1.0 / 0.0 < 0.0",
    # comparison and equality
    "dyn(1) == 1.0",
    "1u < 2",
    "1 < 1.5",
    "2.5 > 2u",
    "9007199254740993 > 9007199254740992.0",
    "'a' < 'b'",
    "b'a' < b'b'",
    "false < true",
    "double('NaN') != double('NaN')",
    "dyn(1) != 'a'",
    "dyn(true) != 1",
    "dyn(0) != false",
    "dyn([1, 2]) == [1.0, 2.0]",
    "dyn({'a': 1}) == {'a': 1u}",
    "{1: 'a'} != {2: 'a'}",
    "[] == []",
    "[[1]] == [[1]]",
    "dyn({}) != []",
    "type(1) == int",
    "type(1u) == uint",
    "type('') == string",
    "type(null) == null_type",
    "type([]) == list",
    "type({}) == map",
    "type(type(1)) == type",
    "type(1.0) != int",
    # membership, indexing
    "1 in [1, 2]",
    "!(3 in [1, 2])",
    "'a' in {'a': 1}",
    "dyn(1.0) in [1]",
    "dyn(1u) in {1: 2}",
    "{1: 'a'}[dyn(1.0)] == 'a'",
    "!(dyn(true) in {1: 'a'})",
    "[1, 2, 3][dyn(1.0)] == 2",
    "size('héé') == 3",
    "'abc'.size() == 3",
    "size(b'é') == 2",
    "size([1, 2]) == 2",
    "{'a': 1}.size() == 1",
    # logic absorbs errors
    "true || 1 / 0 == 1",
    "1 / 0 == 1 || true",
    "!(false && 1 / 0 == 1)",
    "!(1 / 0 == 1 && false)",
    "false ? 1 / 0 == 1 : true",
    "true ? true : 1 / 0 == 1",
    # conversions
    "int('-7') == -7",
    "int(7.9) == 7",
    "int(-7.9) == -7",
    "int(7u) == 7",
    "uint('7') == 7u",
    "uint(7.9) == 7u",
    "double('1.5') == 1.5",
    "double(3) == 3.0",
    "double('-inf') < 0.0",
    "string(1.0) == '1'",
    "string(1e21) == '1e+21'",
    "string(1000000.0) == '1e+06'",
    "string(123456.0) == '123456'",
    "string(0.0001) == '0.0001'",
    "string(0.00001) == '1e-05'",
    "string(-1.25) == '-1.25'",
    "string(0.1 + 0.2) == '0.30000000000000004'",
    "string(true) == 'true'",
    "string(7u) == '7'",
    "string(b'abc') == 'abc'",
    "bytes('é') == b'é'",
    "bool('True')",
    "!bool('0')",
    "dyn(1) + dyn(2) == 3",
    # has
    "has({'a': 1}.a)",
    "!has({'a': 1}.b)",
    "has({'a': {'b': 1}}.a.b)",
    "!has({'a': {}}.a.b)",
    # strings of the standard
    "'hello'.startsWith('he')",
    "'hello'.endsWith('lo')",
    "'hello'.contains('ell')",
    "'hello'.contains('')",
    "'hello'.matches('^h.*o$')",
    "matches('hello', 'l+')",
    "!'hello'.matches('^l')",
    "'日本'.matches('^..$')",
]

FAILING = [
    ("9223372036854775807 + 1", "integer overflow", 21),
    ("-9223372036854775808 - 1", "integer overflow", 22),
    ("-(-9223372036854775808)", "integer overflow", 1),
    ("4611686018427387904 * 2", "integer overflow", 21),
    ("1u - 2u", "unsigned integer overflow", 4),
    ("18446744073709551615u + 1u", "unsigned integer overflow", 23),
    ("1 / 0", "division by zero", 3),
    ("1u / 0u", "division by zero", 4),
    ("1 % 0", "modulus by zero", 3),
    ("-9223372036854775808 / -1", "integer overflow", 22),
    ("[1][1]", "index out of bounds: 1", 4),
    ("[1][-1]", "index out of bounds: -1", 4),
    ("{'a': 1}['b']", "no such key: b", 9),
    ("{'a': 1}.b", "no such key: b", 9),
    ("{1: 1}[2]", "no such key: 2", 7),
    ("object.a.b", "no such key: b", 9),
    ("int(['x'][0])", "parsing", 4),
    ("int([1e30][0])", "integer overflow", 4),
    ("uint([-1][0])", "unsigned integer overflow", 5),
    ("uint(['-1'][0])", "parsing", 5),
    ("double(['x'][0])", "parsing", 7),
    ("bool(['yes'][0])", "parsing", 5),
    ("string([b'\\xff'][0])", "invalid UTF-8", 7),
    ("dyn('a') + 1", "no such overload", 10),
    ("dyn(1) < 'a'", "no such overload", 8),
    ("dyn('a') && true", "no such overload", 10),
    ("1 / 0 == 1 || false", "division by zero", 3),
    ("true && 1 / 0 == 1", "division by zero", 11),
    ("!dyn(1)", "no such overload", 1),
    ("{'a': 1, 'a': 2}", "Failed with repeated key 'a'", 1),
    ("'a'.matches(dyn('('))", "error parsing regexp", 12),
    ("dyn(1).startsWith('a')", "no such overload", 18),
]


@pytest.mark.parametrize("text", TRUE)
def test_expression_is_true(evaluate: Evaluate, text: str) -> None:
    assert evaluate(text) is True


@pytest.mark.parametrize(("text", "message", "column"), FAILING)
def test_expression_fails_with_message_and_position(
    admission: Environment, text: str, message: str, column: int
) -> None:
    program = admission.compile(text)
    with pytest.raises(EvaluationError) as failed:
        program.evaluate({"object": {"a": {}}})
    assert message in failed.value.message
    assert failed.value.position is not None
    assert (failed.value.position.line, failed.value.position.column) == (1, column)


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("", "Syntax error: mismatched input '<EOF>'", 1, 1),
        ("1 +", "Syntax error", 1, 4),
        ("1 + + 2", "Syntax error: extraneous input '+'", 1, 5),
        ("(1", "Syntax error: mismatched input '<EOF>' expecting ')'", 1, 3),
        ("a b", "Syntax error: mismatched input 'b' expecting <EOF>", 1, 3),
        ("'abc", "token recognition error", 1, 1),
        ("'a\nb'", "token recognition error", 1, 1),
        (r"'\q'", "invalid escape sequence", 1, 2),
        (r"'\ud800'", "not a valid Unicode code point", 1, 2),
        (r"b'\u0041'", "unicode escapes are not allowed in bytes", 1, 3),
        ("9223372036854775808", "invalid int literal", 1, 1),
        ("18446744073709551616u", "invalid uint literal", 1, 1),
        ("1" * 50, "number literal is too long", 1, 1),
        ("true.while", "type 'bool' does not support field selection", 1, 5),
        ("while", "reserved identifier: while", 1, 1),
        ("nope", "undeclared reference to 'nope' (in container '')", 1, 1),
        ("nope(1)", "undeclared reference to 'nope'", 1, 5),
        ("'a'.nope()", "undeclared reference to 'nope'", 1, 9),
        ("1 + 'a'", "found no matching overload for '_+_' applied to '(int, string)'", 1, 3),
        ("'a'.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'", 1, 15),
        ("1 == 'a'", "found no matching overload for '_==_' applied to '(int, string)'", 1, 3),
        ("1 && true", "expected type 'bool' but found 'int'", 1, 1),
        ("['a', dyn('b')]", "expected type 'string' but found 'dyn'", 1, 10),
        ("{'a': dyn(1), 'b': 1}", "expected type 'dyn' but found 'int'", 1, 20),
        ("[1, 'a']", "expected type 'int' but found 'string'", 1, 5),
        ("{'a': 1, 2: 1}", "expected type 'string' but found 'int'", 1, 10),
        ("1.all(x, true)", "expression of type 'int' cannot be range of a comprehension", 1, 1),
        ("[1].all(x.y, true)", "argument is not an identifier", 1, 10),
        ("[1].all(i, i, true)", "duplicate variable name: i", 1, 12),
        ("has(object)", "invalid argument to has() macro", 1, 5),
        ("'a'.matches('(')", "invalid matches argument", 1, 13),
        ("timestamp('x')", "invalid timestamp argument", 1, 11),
        ("duration('1')", "invalid duration argument", 1, 10),
        ("true ?\n1 :\n'a'", "found no matching overload for '_?_:_' applied to '(bool, int, string)'", 1, 6),
        ("true &&\n  nope", "undeclared reference to 'nope'", 2, 3),
        ("math.abs(-1)", "undeclared reference to 'math'", 1, 1),
        ("base64.encode(b'a')", "undeclared reference to 'base64'", 1, 1),
        ("Object{}.x", "", 0, 0),
        ("Nope{a: 1}", "undeclared reference to 'Nope'", 1, 5),
    ],
)
def test_bad_expression_is_refused_at_its_place(
    admission: Environment, text: str, message: str, line: int, column: int
) -> None:
    if not message:
        admission.compile(text)
        return
    with pytest.raises(CompileError) as refused:
        admission.compile(text)
    issue = refused.value.issues[0]
    assert message in issue.message
    assert (issue.line, issue.column) == (line, column)


def test_all_type_errors_are_reported_with_excerpts(admission: Environment) -> None:
    with pytest.raises(CompileError) as refused:
        admission.compile("nope +\nother")
    assert [(issue.line, issue.column) for issue in refused.value.issues] == [(1, 1), (2, 1)]
    assert str(refused.value) == (
        "compilation failed: ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n"
        " | nope +\n | ^\n"
        "ERROR: <input>:2:1: undeclared reference to 'other' (in container '')\n | other\n | ^"
    )


@pytest.mark.parametrize(
    "text",
    [
        "(" * 200 + "1" + ")" * 200,
        "!(" * 200 + "true" + ")" * 200,
        "1" + "+1" * 4000,
        "[" * 3000,
        "a" + ".a" * 4000,
        "[1]" + "[0]" * 3000,
        "{1:" * 2000,
        "true ? " * 1000,
        "a[" * 60,
        "-(" * 60,
        "x(" * 3000,
        "'" + "a" * 20000 + "'",
        "[0]" + ".map(x, x)" * 900,
        "optional.of(1)" + ".optMap(x, x)" * 700,
        "1" + " ? 1" * 2000,
    ],
)
def test_deep_and_long_texts_are_refused_quickly(admission: Environment, text: str) -> None:
    with pytest.raises(CompileError):
        admission.compile(text)


def test_long_flat_chains_are_fine(evaluate: Evaluate) -> None:
    assert evaluate("true" + " && true" * 1000) is True
    assert evaluate("false" + " || false" * 1000) is False
    assert evaluate("size([" + "1," * 3000 + "])") == 3000


def test_repeated_signs_cancel(evaluate: Evaluate) -> None:
    assert evaluate("-" * 5000 + "1") == 1
    assert evaluate("-" * 5001 + "1") == -1
    assert evaluate("!" * 5001 + "true") is False


def test_division_of_doubles_by_zero_follows_ieee(evaluate: Evaluate) -> None:
    assert evaluate("-1.0 / 0.0") == -math.inf
    assert evaluate("1.0 / -0.0") == -math.inf
    assert math.isnan(evaluate("0.0 / 0.0"))
