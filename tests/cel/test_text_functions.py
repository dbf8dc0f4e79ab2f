"""Functions on strings, regular expressions, times, lists and sets."""

from collections.abc import Callable
from typing import Any

import pytest

from aliquot.cel import CompileError, Environment, EvaluationError

Evaluate = Callable[..., Any]


@pytest.mark.parametrize(
    "text",
    [
        "'héllo'.charAt(1) == 'é' && 'a'.charAt(1) == ''",
        "'hello'.indexOf('l') == 2 && 'hello'.indexOf('l', 3) == 3 && 'hello'.indexOf('x') == -1",
        "'hello'.indexOf('') == 0 && 'hello'.indexOf('', 2) == 2",
        "'hello'.lastIndexOf('l') == 3 && 'hello'.lastIndexOf('l', 2) == 2 && 'hello'.lastIndexOf('') == 5",
        "'TacoCÆt'.lowerAscii() == 'tacocÆt' && 'tacoCæt'.upperAscii() == 'TACOCæT'",
        "'aXbXc'.replace('X', '-') == 'a-b-c' && 'aXbXc'.replace('X', '-', 1) == 'a-bXc'",
        "'aXb'.replace('X', '-', 0) == 'aXb' && 'ab'.replace('', '-') == '-a-b-'",
        "'a,b,c'.split(',') == ['a', 'b', 'c']",
        "'abc'.split('') == ['a', 'b', 'c'] && ''.split(',') == ['']",
        "'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "'a,b'.split(',', 0) == [] && 'a,b'.split(',', 1) == ['a,b']",
        "'abc'.split('', 2) == ['a', 'bc'] && 'a,b'.split(',', -1) == ['a', 'b']",
        "'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && 'abc'.substring(3) == ''",
        "'  \\ttrim\\n '.trim() == 'trim'",
        "['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join(',') == ''",
        "strings.quote('a\"b\\n') == '\"a\\\\\"b\\\\n\"'",
        # regular expressions
        "'abc 123 def'.find('[0-9]+') == '123' && 'abc'.find('x') == ''",
        "'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b22'.findAll('[0-9]+', 1) == ['1']",
        "'a1'.findAll('[0-9]', 0) == []",
        "'a1b2'.findAll('[0-9]', -1) == ['1', '2'] && 'é1'.find('.$') == '1'",
        # formatting
        "'%s and %d and %%'.format(['x', dyn(1)]) == 'x and 1 and %'",
        "'%.2f'.format([3.14159]) == '3.14' && '%f'.format([1234.5]) == '1,234.500000'",
        "'%b %b'.format([5, 6]) == '101 110'",
        "'%x %X'.format([255, 255]) == 'ff FF' && '%o'.format([8]) == '10'",
        "'%x'.format(['ab']) == '6162' && '%X'.format([b'\\xff']) == 'FF' && '%b'.format([true]) == '1'",
        "'%s'.format([[1, 2]]) == '[1, 2]' && '%s'.format([{'b': 1, 'a': 2}]) == '{\"a\":2, \"b\":1}'",
        "'%s'.format([null]) == 'null' && '%s'.format([1.5]) == '1.5' && '%s'.format([type(1)]) == 'int'",
        "'%.1e'.format([1052.0]) == '1.1\u202f×\u202f10⁰³' && '%f'.format([double('inf')]) == '∞'",
        # times
        "timestamp('2024-02-29T12:30:45.123456789Z').getFullYear() == 2024",
        "timestamp('2024-02-29T12:30:45Z').getMonth() == 1",
        "timestamp('2024-02-29T12:30:45Z').getDate() == 29",
        "timestamp('2024-02-29T12:30:45Z').getDayOfMonth() == 28",
        "timestamp('2024-02-29T12:30:45Z').getDayOfYear() == 59",
        "timestamp('2024-02-29T12:30:45Z').getDayOfWeek() == 4",
        "timestamp('2024-02-29T12:30:45Z').getHours('+02:00') == 14",
        "timestamp('2024-02-29T12:30:45Z').getMinutes('-01:15') == 15",
        "timestamp('2024-02-29T12:30:45.987Z').getMilliseconds() == 987",
        "timestamp('2024-02-29T12:30:45Z').getSeconds('UTC') == 45",
        "timestamp('2024-02-29T12:30:45+01:00') == timestamp('2024-02-29T11:30:45Z')",
        "string(timestamp('2024-02-29T12:30:45.100Z')) == '2024-02-29T12:30:45.1Z'",
        "int(timestamp('1970-01-01T00:01:00Z')) == 60 && timestamp(60) == timestamp('1970-01-01T00:01:00Z')",
        "timestamp('2024-01-01T00:00:00Z') + duration('36h') == timestamp('2024-01-02T12:00:00Z')",
        "timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')",
        "timestamp('2024-01-02T00:00:00Z') > timestamp('2024-01-01T00:00:00Z')",
        "duration('1h30m') == duration('90m') && string(duration('1h30m1.5s')) == '5401.5s'",
        "duration('1h30m').getHours() == 1 && duration('1h30m').getMinutes() == 90",
        "duration('-1.5s').getSeconds() == -1 && duration('1.234s').getMilliseconds() == 234",
        "duration('100ms') + duration('1us') == duration('100001us')",
        "duration('1s') < duration('2s') && duration('0') == duration('0s')",
        # lists
        "[1, 2, 3].isSorted() && !['b', 'a'].isSorted() && [].map(x, 1).isSorted()",
        "[1, 2].sum() == 3 && [1.5, 2.5].sum() == 4.0 && [1u].sum() == 1u && [1].filter(x, false).sum() == 0",
        "[duration('1s'), duration('2s')].sum() == duration('3s')",
        "[3, 1, 2].min() == 1 && [3, 1, 2].max() == 3 && ['b', 'a'].max() == 'b'",
        "[1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(5) == -1",
        "[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b'] && [2, 1].sort().isSorted()",
        "[[1], [2, 3]].flatten() == [1, 2, 3] && [[[1]], [[2]]].flatten(2) == [1, 2]",
        "[1, 2, 1].distinct() == [1, 2] && [1, 2, 3, 4].slice(1, 3) == [2, 3] && lists.range(3) == [0, 1, 2]",
        "[1, 2].reverse() == [2, 1] && lists.range(0) == [] && [1, 2].slice(2, 2) == []",
        "[{'n': 2}, {'n': 1}].sortBy(x, x.n) == [{'n': 1}, {'n': 2}]",
        "['bb', 'a'].sortBy(x, size(x)) == ['a', 'bb']",
        # sets
        "sets.contains([1, 2, 3], [2, 3]) && !sets.contains([1], [1, 2]) && sets.contains([1], [])",
        "sets.equivalent([1, 2, 2], [2, 1]) && !sets.equivalent([1], [2])",
        "sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [])",
    ],
)
def test_functions_give_true(evaluate: Evaluate, text: str) -> None:
    assert evaluate(text) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'abc'.charAt(4) == ''", "index out of range: 4"),
        ("'abc'.indexOf('a', -1) == 0", "index out of range: -1"),
        ("'abc'.substring(2, 1) == ''", "invalid substring range. start: 2, end: 1"),
        ("'abc'.substring(0, 9) == ''", "index out of range: 9"),
        ("'%d'.format([dyn('a')]) == ''", "decimal clause can only be used on integers, was given string"),
        ("'%s %s'.format(dyn(['a'])) == ''", "index 1 out of range"),
        ("'%q'.format(dyn(['a'])) == ''", 'unrecognized formatting clause "q"'),
        ("'%'.format(dyn(['a'])) == ''", "unexpected end of string"),
        ("'%.9999f'.format(dyn([1.0])) == ''", "precision"),
        (
            "'a'.replace('a', ('x' + string(lists.range(1000)[5])) .replace('x', 'yy')) == dyn(1).join()",
            "overload",
        ),
        ("[].filter(x, true).min() == 1", "min called on empty list"),
        ("[1].slice(0, 2) == []", "cannot slice(0, 2), list is length 1"),
        ("[1].slice(-1, 1) == []", "negative indexes not supported"),
        ("[[1]].flatten(-1) == []", "level must be non-negative"),
        ("lists.range(1000001).size() == 1", "more than 1000000 elements"),
        ("timestamp(['2024-13-01T00:00:00Z'][0]) == timestamp(0)", "month must be in 1..12"),
        ("timestamp(['2024-01-01'][0]) == timestamp(0)", "cannot parse"),
        ("timestamp([253402300800][0]) == timestamp(0)", "timestamp overflow"),
        ("timestamp(0).getHours('Nowhere/Land') == 0", "unknown time zone"),
        ("duration(['1x'][0]) == duration('1s')", "invalid duration"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s') == timestamp(0)", "timestamp overflow"),
        ("duration('2562047h') + duration('2562047h') == duration('1h')", "duration overflow"),
        ("dyn([1]).join(',') == ''", "no such overload"),
        ("dyn(['a']).sum() == 1", "no such overload"),
    ],
)
def test_functions_fail(evaluate: Evaluate, text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        evaluate(text)
    assert message in failed.value.message


def test_a_pattern_that_backtracks_elsewhere_is_harmless(evaluate: Evaluate) -> None:
    assert evaluate("object.matches('(a*)*b')", object="a" * 5000) is False


def test_lists_of_one_library_do_not_take_mixed_elements(admission: Environment) -> None:
    with pytest.raises(CompileError, match="found no matching overload for 'sum' applied to"):
        admission.compile("['a'].sum()")
