"""Selectors over devices: domains, faults, what is read, versions of the environment."""

from typing import Any

import pytest

from aliquot.cel import (
    CompileError,
    DeviceView,
    Environment,
    EvaluationError,
    Program,
    Quantity,
    Semver,
    VersionText,
)

DRIVER = "gpu.nvidia.com"
GPU = DeviceView(
    DRIVER,
    {
        "type": "gpu",
        "index": 3,
        "healthy": True,
        "driverVersion": VersionText("580.126.20"),
        "cudaVersion": Semver.parse("13.0.0"),
        "resource.kubernetes.io/pcieRoot": "pci0000:64",
    },
    {"memory": Quantity.parse("80Gi"), "example.com/slices": Quantity.of(7)},
    allow_multiple_allocations=True,
)
DEVICES = Environment.for_devices()
BOTH = {("attributes", "a", "b"), ("attributes", "a", "c")}


@pytest.mark.parametrize(
    "text",
    [
        "device.driver == 'gpu.nvidia.com' && device.allowMultipleAllocations",
        "device.attributes['gpu.nvidia.com'].type == 'gpu'",
        "device.attributes['gpu.nvidia.com']['index'] == 3",
        "device.attributes['gpu.nvidia.com'].healthy",
        "device.attributes['gpu.nvidia.com'].driverVersion.compareTo(semver('580.0.0')) > 0",
        "device.attributes['gpu.nvidia.com'].cudaVersion.major() == 13",
        "device.attributes['resource.kubernetes.io'].pcieRoot.startsWith('pci')",
        "device.capacity['gpu.nvidia.com'].memory == quantity('81920Mi')",
        "device.capacity['example.com'].slices.asInteger() == 7",
        "'type' in device.attributes['gpu.nvidia.com'] && !('x' in device.attributes['gpu.nvidia.com'])",
        "'gpu.nvidia.com' in device.attributes && !('nope' in device.attributes)",
        "device.attributes['nope'].size() == 0 && !has(device.attributes['nope'].x)",
        "has(device.attributes['gpu.nvidia.com'].type)",
        "device.attributes['nope'].?x.orValue('none') == 'none'",
        "device.attributes[?'nope'].hasValue()",
        "device.attributes.size() == 2 && device.capacity.exists(domain, domain == 'example.com')",
        "cel.bind(gpu, device.attributes['gpu.nvidia.com'], gpu.type == 'gpu' && gpu.index == 3)",
        "device.attributes['gpu.nvidia.com'].transformList(k, v, k).isSorted()",
        "[device].exists(each, each.driver == 'gpu.nvidia.com')",
    ],
)
def test_selector_selects(text: str) -> None:
    program = DEVICES.compile(text)
    assert program.matches(GPU) is True
    assert program.evaluate({"device": GPU}) is True
    value, cost = program.measure({"device": GPU})
    assert value is True
    assert cost <= program.cost


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device.attributes['gpu.nvidia.com'].nope", "no such key: nope"),
        ("device.attributes['nope'].nope == 1", "no such key: nope"),
        ("device.attributes['gpu.nvidia.com'].type", "type conversion error from 'string' to 'bool'"),
        ("device.attributes['gpu.nvidia.com'].type > 1", "no such overload"),
        ("device.attributes['gpu.nvidia.com'].index.isLessThan(semver('1.0.0'))", "no such overload"),
        ("device.attributes['gpu.nvidia.com'].type.x == 1", "no such overload"),
    ],
)
def test_selector_fails(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        DEVICES.compile(text).matches(GPU)
    assert message in failed.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device.attribute['x'].y", "undefined field 'attribute'"),
        ("device.driver", "must evaluate to bool or the unknown type, not string"),
        ("dyn(true)", "must evaluate to bool or the unknown type, not dyn"),
        ("device.driver == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("device.capacity['x'].y > 1", "applied to '(kubernetes.Quantity, int)'"),
        ("device.capacity['x'].y.isGreaterThan('1Gi')", "applied to 'kubernetes.Quantity.(string)'"),
        ("device.attributes['x'].y.exists(z, z)", "cannot be range of a comprehension"),
        ("object.spec", "undeclared reference to 'object'"),
        ("math.greatest(1, 2) == 2", "undeclared reference to 'greatest'"),
    ],
)
def test_selector_is_refused(text: str, message: str) -> None:
    with pytest.raises(CompileError) as refused:
        DEVICES.compile(text)
    assert message in str(refused.value)


def test_one_invalid_version_breaks_every_selector_on_the_device() -> None:
    view = DeviceView(DRIVER, {"a": VersionText("v1.0.0"), "b": True}, {})
    program = DEVICES.compile("device.attributes['gpu.nvidia.com'].b")
    for evaluate in (program.matches, lambda view: program.evaluate({"device": view})):
        with pytest.raises(EvaluationError, match="attribute a: parse semantic version: "):
            evaluate(view)


@pytest.mark.parametrize(
    ("environment", "readable"),
    [
        (Environment.for_devices((1, 36)), False),
        (Environment.for_devices((1, 36), list_attributes=True), True),
        (Environment.for_devices((1, 37)), True),
    ],
)
def test_list_attributes_are_a_fault_until_they_are_supported(
    environment: Environment, readable: bool
) -> None:
    view = DeviceView(DRIVER, {"ids": (1, 2), "versions": (VersionText("1.0.0"),)}, {})
    program = environment.compile("device.attributes['gpu.nvidia.com'].ids.includes(2)")
    if readable:
        assert program.matches(view)
        assert environment.compile("device.attributes['gpu.nvidia.com'].ids.exists(id, id == 1)").matches(
            view
        )
        assert environment.compile("device.attributes['gpu.nvidia.com'].versions[0].major() == 1").matches(
            view
        )
    else:
        with pytest.raises(EvaluationError, match="attribute ids: unsupported attribute value"):
            program.matches(view)


def test_functions_and_fields_appear_with_their_version() -> None:
    includes = "device.attributes['x'].y.includes(1)"
    for kubernetes in ((1, 34), (1, 35)):
        with pytest.raises(CompileError, match="undeclared reference to 'includes'"):
            Environment.for_devices(kubernetes).compile(includes)
    Environment.for_devices((1, 36)).compile(includes)
    Environment.for_devices((1, 37)).compile(includes)
    with pytest.raises(CompileError, match="undefined field 'allowMultipleAllocations'"):
        Environment.for_devices(stored=False, consumable_capacity=False).compile(
            "device.allowMultipleAllocations"
        )
    with pytest.raises(ValueError, match=r"no environment for Kubernetes 1\.20; known are 1\.34"):
        Environment.for_devices((1, 20))


def test_environments_and_programs_are_kept() -> None:
    assert Environment.for_devices((1, 36)) is Environment.for_devices((1, 36))
    assert DEVICES.compile("true") is DEVICES.compile("true")


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("true", set()),
        ("device.driver == 'a' && device.allowMultipleAllocations", set()),
        ("device.attributes['a'].b", {("attributes", "a", "b")}),
        ("device.attributes['a']['b'] && device.attributes.a.c", BOTH),
        ("device.capacity['a'].b == quantity('1')", {("capacity", "a", "b")}),
        ("'b' in device.attributes['a'] || has(device.attributes['a'].c)", BOTH),
        ("device.attributes['a'].?b.orValue(true)", {("attributes", "a", "b")}),
        ("device.attributes['a'][?'b'].orValue(true)", {("attributes", "a", "b")}),
        ("[1].exists(x, device.attributes['a'].b == x)", {("attributes", "a", "b")}),
        ("[true].exists(device, device)", set()),
        ("'a' in device.attributes", None),
        ("has(device.attributes.a)", None),
        ("device.attributes[device.driver].b", None),
        ("device.attributes['a'].exists(k, k == 'b')", None),
        ("cel.bind(a, device.attributes['a'], a.b)", None),
        ("[device].exists(d, d.driver == 'a')", None),
        ("device.attributes == device.attributes", None),
    ],
)
def test_reads_name_every_attribute_that_can_decide(text: str, reads: set[Any] | None) -> None:
    program = DEVICES.compile(text)
    assert program.reads == (None if reads is None else frozenset(reads))


def fingerprint(program: Program, **attributes: Any) -> Any:
    return program.fingerprint(DeviceView(DRIVER, attributes, {}))


def test_fingerprints_are_equal_only_where_results_must_be() -> None:
    program = DEVICES.compile("device.attributes['gpu.nvidia.com'].a == 1")
    assert fingerprint(program, a=1, b=1) == fingerprint(program, a=1, b=2)
    assert hash(fingerprint(program, a=1)) == hash(fingerprint(program, a=1))
    different = [
        fingerprint(program, a=1),
        fingerprint(program, a=2),
        fingerprint(program, a=True),
        fingerprint(program, a="1"),
        fingerprint(program),
        fingerprint(program, a=1, c=VersionText("x")),
        fingerprint(program, a=(1,)),
        fingerprint(program, a=(True,)),
        program.fingerprint(DeviceView("other", {}, {})),
        program.fingerprint(DeviceView(DRIVER, {"a": 1}, {}, allow_multiple_allocations=True)),
    ]
    assert len(set(different)) == len(different)
    assert DEVICES.compile("'x' in device.attributes").fingerprint(GPU) is None


def test_evaluation_stops_at_the_cost_limit() -> None:
    ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    program = DEVICES.compile(f"{ten}.all(a, {ten}.all(b, {ten}.all(c, a + b + c > 0)))")
    assert program.matches(GPU)
    with pytest.raises(EvaluationError, match="operation cancelled: actual cost limit exceeded"):
        program.matches(GPU, cost_limit=1000)
    guarded = DEVICES.compile(f"true || {ten}.all(a, a > 0) || 1 / 0 == 1")
    with pytest.raises(EvaluationError, match="cost limit"):
        DEVICES.compile(f"{ten}.all(a, {ten}.all(b, a + b > 0)) || true").evaluate({"device": GPU}, 20)
    assert guarded.matches(GPU, cost_limit=0)
