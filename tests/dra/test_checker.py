"""What the checker objects to, case by case."""

import pytest
from tests.dra.build import (
    DRIVER,
    allocated,
    allocation,
    alternative,
    claim,
    device_class,
    exactly,
    node,
    partitioned,
    slice_of,
)

from aliquot.dra.allocator import allocate
from aliquot.dra.checker import check, check_cluster
from aliquot.dra.fleet import Fleet
from aliquot.dra.usage import Usage
from aliquot.model.kinds import convert, plain
from aliquot.model.resource import AllocationResult
from aliquot.model.snapshot import Snapshot

SHAREABLE = {"name": "big", "allowMultipleAllocations": True, "capacity": {"memory": {"value": "10"}}}


def share(amount: str, number: int) -> dict:
    return {
        "device": "big",
        "pool": "node-2",
        "shareID": f"s{number}",
        "consumedCapacity": {"memory": amount},
    }


@pytest.mark.parametrize(
    ("holdings", "rules"),
    [
        ([["gpu-0-half-0"], ["gpu-0-half-1"], ["gpu-1-whole-0"]], []),
        ([["gpu-0-half-0"], ["gpu-0-half-0"]], ["DeviceHeldTwice"]),
        ([["gpu-0-half-0", "gpu-0-half-0"]], ["DeviceHeldTwice"]),
        ([["gone"], ["gone"]], ["DeviceHeldTwice"]),
        ([["gpu-0-whole-0"], ["gpu-0-quarter-0"]], ["CounterExceeded"]),
        ([["gpu-0-whole-0"], [{"device": "gpu-0-whole-0", "adminAccess": True}]], []),
        ([[share("4", 1)], [share("6", 2)]], []),
        ([[share("4", 1)], [share("7", 2)]], ["CapacityExceeded"]),
        ([[share("1", 1)], [share("2", 1)]], ["ShareHeldTwice"]),
        ([[share("1", 1)], [{"device": "big", "pool": "node-2"}]], ["DeviceHeldTwice"]),
    ],
)
def test_no_device_is_given_twice_and_nothing_is_overdrawn(holdings, rules):
    claims = [allocated(f"claim-{number}", *held) for number, held in enumerate(holdings)]
    snapshot = Snapshot.of([*partitioned(), slice_of([SHAREABLE], node="node-2"), *claims])
    assert [violation.rule for violation in check_cluster(snapshot)] == rules


SICK = {"key": "sick", "effect": "NoSchedule"}
DEVICES = [
    {"name": "a", "attributes": {"kind": {"string": "x"}, "group": {"int": 1}}},
    {"name": "b", "attributes": {"kind": {"string": "x"}, "group": {"int": 2}}},
    {"name": "c", "attributes": {"kind": {"string": "y"}, "group": {"int": 1}}},
    {"name": "sick", "attributes": {"kind": {"string": "x"}, "group": {"int": 1}}, "taints": [SICK]},
    {"name": "slow", "attributes": {"kind": {"string": "z"}}, "bindingConditions": ["ready"]},
    {**SHAREABLE, "attributes": {"kind": {"string": "big"}}},
]
FLEET = Fleet.of(
    [
        slice_of(DEVICES),
        slice_of([{"name": "far", "attributes": {"kind": {"string": "x"}}}], node="node-2"),
        slice_of([{"name": "half", "attributes": {"kind": {"string": "x"}}}], node="node-3", count=2),
        slice_of(["global"], pool="global", driver="net", allNodes=True),
    ],
    [
        device_class("gpu", f'device.driver == "{DRIVER}"', config=[{"opaque": {"driver": DRIVER}}]),
        device_class("net", 'device.driver == "net"'),
    ],
)
NODES = [node("node-1"), node("node-2")]
NODE_1 = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}
HERE = {"nodeSelectorTerms": [{"matchFields": [NODE_1]}]}
CONFIG = [{"source": "FromClass", "requests": ["req"], "opaque": {"driver": DRIVER}}]


def kind(value):
    return f'device.attributes["{DRIVER}"].kind == "{value}"'


def broken(request, *results, others=(), where=HERE, config=CONFIG, **claim_fields):
    """The rules that these results break, given to a claim with one request."""
    wanted = claim(request, **claim_fields)
    written = allocation(*results)
    given = {
        "devices": {"results": plain(written)["devices"].get("results", []), "config": config},
        "nodeSelector": where,
    }
    decided = convert(given, AllocationResult)
    return {violation.rule for violation in check(decided, wanted, FLEET, NODES, others)}


@pytest.mark.parametrize(
    ("request_", "results", "rules"),
    [
        (exactly("req", kind("x")), ["a"], set()),
        (exactly("req", kind("x"), count=2), ["a", "b"], set()),
        (exactly("req", kind("x")), [], {"RequestNotServed", "ConfigDiffers"}),
        (exactly("req", kind("x"), count=2), ["a"], {"CountDiffers"}),
        (exactly("req", kind("x"), count=2), ["a", "a"], {"DeviceRepeated", "DeviceHeldTwice"}),
        (exactly("req", kind("x")), ["c"], {"SelectorFails"}),
        (exactly("req", kind("x")), ["none"], {"UnknownDevice", "RequestNotServed", "ConfigDiffers"}),
        (
            exactly("req", kind("x")),
            [{"device": "half", "pool": "node-3"}],
            {"UnusablePool", "RequestNotServed", "ConfigDiffers"},
        ),
        (exactly("req", kind("x")), [{"device": "far", "pool": "node-2"}], {"DeviceElsewhere"}),
        (
            exactly("req", kind("x")),
            [{"device": "a", "request": "other"}],
            {"UnknownRequest", "RequestNotServed", "ConfigDiffers"},
        ),
        (exactly("req", kind("x")), ["sick"], {"TaintNotTolerated"}),
        (
            exactly("req", kind("x"), tolerations=[{"operator": "Exists"}]),
            ["sick"],
            {"TolerationsDiffer"},
        ),
        (
            exactly("req", kind("x"), tolerations=[{"operator": "Exists"}]),
            [{"device": "sick", "tolerations": [{"operator": "Exists"}]}],
            set(),
        ),
        (exactly("req", kind("z")), ["slow"], {"BindingConditionsDiffer"}),
        (exactly("req", kind("z")), [{"device": "slow", "bindingConditions": ["ready"]}], set()),
        (exactly("req", kind("x")), [{"device": "a", "adminAccess": True}], {"AdminAccessDiffers"}),
        (exactly("req", kind("x"), adminAccess=True), [{"device": "a", "adminAccess": True}], set()),
        (exactly("req", kind("big")), ["big"], {"ShareIdDiffers", "ConsumedCapacityDiffers"}),
        (exactly("req", kind("big")), [share("10", 1) | {"pool": "node-1"}], set()),
        (exactly("req", kind("big")), [share("9", 1) | {"pool": "node-1"}], {"ConsumedCapacityDiffers"}),
        (
            exactly("req", kind("big"), capacity={"requests": {"memory": "11"}}),
            [share("11", 1) | {"pool": "node-1"}],
            {"CapacityTooSmall", "CapacityExceeded"},
        ),
        (exactly("req", kind("y"), allocationMode="All"), ["c"], set()),
        (exactly("req", kind("x"), allocationMode="All"), ["a", "b"], {"DeviceMissing"}),
        (exactly("req", cls="missing"), ["a"], {"SelectorFails", "ConfigDiffers"}),
    ],
)
def test_every_rule_about_a_device_and_a_request_is_checked(request_, results, rules):
    assert broken(request_, *results) == rules


@pytest.mark.parametrize(
    ("constraint", "devices", "rules"),
    [
        ({"matchAttribute": f"{DRIVER}/kind"}, ["a", "b"], set()),
        ({"matchAttribute": f"{DRIVER}/group"}, ["a", "b"], {"AttributesDiffer"}),
        ({"distinctAttribute": f"{DRIVER}/group"}, ["a", "b"], set()),
        ({"distinctAttribute": f"{DRIVER}/kind"}, ["a", "b"], {"AttributesRepeat"}),
        ({"matchAttribute": f"{DRIVER}/none"}, ["a", "b"], {"AttributeMissing"}),
        ({"matchAttribute": f"{DRIVER}/group", "requests": ["other"]}, ["a", "b"], set()),
    ],
)
def test_constraints_are_checked(constraint, devices, rules):
    assert broken(exactly("req", kind("x"), count=2), *devices, constraints=[constraint]) == rules


@pytest.mark.parametrize(
    ("fields", "rules"),
    [
        ({"where": None}, {"DeviceElsewhere"}),
        ({"config": []}, {"ConfigDiffers"}),
        ({"config": [*CONFIG, *CONFIG]}, set()),
        ({"config": [{**CONFIG[0], "requests": ["x"]}]}, {"ConfigDiffers"}),
        ({"others": [allocated("other", "a")]}, {"DeviceHeldTwice"}),
        ({"others": [allocated("claim", "a")]}, set()),
        (
            {"where": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "Exists"}]}]}},
            {"NoNode"},
        ),
    ],
)
def test_node_config_and_other_claims_are_checked(fields, rules):
    assert broken(exactly("req", kind("x")), "a", **fields) == rules


def test_one_alternative_serves_a_request():
    request = {
        "name": "req",
        "firstAvailable": [alternative("one", kind("x")), alternative("two", kind("x"))],
    }
    config = [{**CONFIG[0], "requests": ["req/one"]}]
    one, two = {"device": "a", "request": "req/one"}, {"device": "b", "request": "req/two"}
    assert broken(request, one, config=config) == set()
    assert broken(request, one, two, config=config) == {"MixedAlternatives"}


def test_a_claim_has_32_results_at_most():
    request = exactly("req", kind("x"), count=33)
    assert "TooManyResults" in broken(request, *["a"] * 33)


def test_an_attribute_without_a_value_fails_every_selector_for_the_checker_too():
    fleet = Fleet.of(
        [slice_of(["a", {"name": "b", "attributes": {"kind": {}}}])], [device_class("gpu", "true")]
    )
    wanted = claim(exactly(allocationMode="All"))
    found = allocate(fleet, Usage(fleet), node(), [wanted])
    assert [each.device for each in found.results[0].devices.results] == ["a"]
    assert check(found.results[0], wanted, fleet, [node()]) == ()
