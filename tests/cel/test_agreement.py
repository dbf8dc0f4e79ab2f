"""Outcome and costs of selectors as Kubernetes 1.36.2 itself gives them, where they are not obvious."""

import pytest

from aliquot.cel import CompileError, DeviceView, Environment, EvaluationError, Quantity, VersionText

ENVIRONMENT = Environment.for_devices((1, 36))
GPU = DeviceView(
    "d.example.com",
    {"a": VersionText("1.0.0"), "k": True, "i": 2, "s": "x"},
    {"m": Quantity.parse("2")},
    False,
)
D = "device.attributes['d.example.com']"
C = "device.capacity['d.example.com']"


@pytest.mark.parametrize(
    ("text", "matched", "static", "actual"),
    [
        # What is constant is computed beforehand, at no cost.
        ("[1,2,3].exists(x, x==2)", True, 29, 16),
        ("{'a':1}['a']==1", True, 32, 3),
        ("[[1]][0][0]==1", True, 23, 4),
        ("int(0.0) == 7", False, 2, 1),
        ("2 in {}", False, 31, 1),
        (f"{D}.i in [1, 2]", True, 16, 4),
        (f"{D}.zz in []", False, 14, 0),
        ("[1,2].map(x, x*2)==[2,4]", True, 60, 30),
        ("[1,2,3].map(x, 2).isSorted()", True, 60, 10),
        ("[1,2].filter(x, x>1).size()==1", True, 53, 20),
        ("{'a':1}.transformMap(k,v,v)=={}", False, 95, 5),
        ("[1,2].exists_one(x,x==1)", True, 20, 8),
        # Steps of paths.
        (f"{D}.i == 2", True, 5, 5),
        ("device.attributes[device.driver].i == 2", True, 7, 6),
        ("'m' in device.capacity[device.driver]", True, 6, 5),
        ("[device.driver][0]=='x'", False, 14, 15),
        # Optional values: what is absent costs less than what is there.
        (f"{D}.?i.orValue(0)==2", True, 6, 5),
        (f"{D}.?zz.orValue(0)==2", False, 6, 4),
        ("device.attributes[?'zz'][?'i'].orValue(1)==2", False, 6, 4),
        ("device.attributes[?'d.example.com'].?i.hasValue()", True, 5, 5),
        ("{'a':{'b':1}}.?z.?b.orValue(2)==1", False, 64, 2),
        (f"{D}.?i.optMap(x, x+1).orValue(0)==3", True, 25, 14),
        (f"{D}.?zz.optMap(x, x+1).orValue(0)==3", False, 25, 6),
        (f"{C}.?n.orValue(quantity('1')).sub(1).isInteger()", True, 8, 6),
        # A bound value is computed when it is read.
        (f"cel.bind(x, {D}.i, x==2 && x==2)", True, 18, 8),
        (f"cel.bind(x, {D}.zz, device.allowMultipleAllocations)", False, 16, 2),
        ("cel.bind(x, quantity('no'), true)", True, 11, 0),
        # Branches and failures that nothing notices are paid for, too.
        ("true ? device.allowMultipleAllocations : true", False, 2, 1),
        (f"true ? has({D}.s) : true", True, 3, 3),
        (f"{D}.zz || device.driver == 'd.example.com'", True, 8, 8),
        ("quantity('no').isInteger() || true", True, 2, 2),
        # Formats, sizes.
        ("format.uuid().validate('a').hasValue()", True, 34, 20),
        ("format.uri().validate('a').hasValue()", True, 34, 278),
        ("strings.quote(device.driver.charAt(0)) == 'x'", False, None, None),
        # Comparisons across types.
        (f"1 == {D}.a", False, 5, 5),
        (f"{D}.a != 1", True, 5, 5),
        ("quantity('1') != quantity('0').add(1)", True, 1844674407370955267, 4),
        (f"{C}.m in [quantity('2')]", True, 16, 16),
        (f"[{D}.a] == [1]", True, None, None),
        ("quantity('1.5Gi').isInteger()", False, None, None),
    ],
)
def test_a_selector_matches_at_the_cost_of_kubernetes(text, matched, static, actual):
    program = ENVIRONMENT.compile(text)
    result, cost = program.measure({"device": GPU})
    assert program.matches(GPU) is result is matched
    if static is not None:
        assert (program.cost, cost) == (static, actual)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{D}.a == 1", "no such overload"),
        (f"semver('1.0.0') == {D}.s", "no such overload"),
        (f"quantity('1') == {D}.i", "no such overload"),
        ("quantity('1') == quantity('0').add(1)", "no such overload"),
        ("optional.of(semver('1.0.0')) == optional.of(dyn(1))", "no such overload"),
        (f"{D}.a in ['1.0.0']", "hash of unhashable type cel.Semver"),
        ("quantity('1.0').asInteger() == 1", "cannot convert value to integer"),
    ],
)
def test_a_selector_fails_as_in_kubernetes(text, message):
    program = ENVIRONMENT.compile(text)
    with pytest.raises(EvaluationError, match=message):
        program.matches(GPU)
    with pytest.raises(EvaluationError, match=message):
        program.measure({"device": GPU})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'abc'.reverse() == 'cba'", "found no matching overload for 'reverse' applied to 'string.()'"),
        ("[1].existsOne(x, true)", "undeclared reference to 'existsOne'"),
        ("quantity('1').sign() == 1", "found no matching overload for 'sign'"),
        ("int('abc') == 1", "program instantiation failed"),
        ("true || int('abc') == 1", "program instantiation failed"),
        ("device.driver.find('[') == ''", "program instantiation failed: error parsing regexp: missing"),
        (
            "device.driver.findAll('(', 1) == []",
            "program instantiation failed: error parsing regexp: missing",
        ),
        ("!.false", "Syntax error"),
        ("[1, 'a'] == []", "expected type 'int' but found 'string'"),
        ("'%d-%s'.format([1]) == ''", "1:15: index 1 out of range"),
        ("'%%'.format([1]) == ''", "too many arguments supplied to string.format (expected 0, got 1)"),
        (
            "'%x'.format([true]) == ''",
            "1:14: error during formatting: only integers, byte buffers, and strings can be formatted "
            "as hex, was given bool",
        ),
        (
            "'%s'.format([[semver('1.0.0')]]) == ''",
            "durations, and timestamps, was given kubernetes.Semver",
        ),
    ],
)
def test_a_selector_is_refused_as_in_kubernetes(text, message):
    with pytest.raises(CompileError) as refused:
        ENVIRONMENT.compile(text)
    assert message in str(refused.value)


def test_lists_for_format_may_mix_types_at_any_depth():
    assert ENVIRONMENT.compile("'%s %s'.format([['a', 1], {'b': 1, 'c': []}]) != ''").matches(GPU)


@pytest.mark.parametrize(
    "text",
    [
        "'aaaaaaaaaaaaaaaaaaaaaaaa!'.startsWith('')",
        "string(dyn(double(-9223372036854775808))).matches(r'^(([a-z])+.)+[A-Z]([a-z])+$')",
        "dyn(lists.range(1000)).max() != device",
        "format.uri().validate('a').hasValue()",
        "strings.quote('a' + string(dyn(1))).matches('1')",
    ],
)
def test_no_evaluation_costs_more_than_the_ceiling(text):
    program = ENVIRONMENT.compile(text)
    assert program.measure({"device": GPU})[1] <= program.ceiling
