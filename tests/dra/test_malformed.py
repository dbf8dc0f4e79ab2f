"""Objects that API validation would refuse: always an outcome, never a crash."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dra.build import node

from aliquot.dra.allocator import allocate
from aliquot.dra.candidates import NodeIndex
from aliquot.dra.checker import check
from aliquot.dra.clashes import clashes
from aliquot.dra.features import Features
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated, BudgetExceeded, Invalid, Unallocatable
from aliquot.dra.shares import share_of_result
from aliquot.dra.usage import Usage
from aliquot.model.kinds import convert
from aliquot.model.resource import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice

Json = dict[str, Any]

names = st.sampled_from(["", "a", "b", "a/b", "drv/x", "x"])
quantities = st.sampled_from(["0", "1", "2", "-1", "1Gi", "500m", "9223372036854775807", "1e30"])
maybe = st.booleans()


def some(**fields: st.SearchStrategy) -> st.SearchStrategy[Json]:
    """An object with any of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


attributes = some(
    int=st.integers(-3, 3),
    bool=maybe,
    string=names,
    version=st.sampled_from(["1.0.0", "bad", ""]),
    ints=st.lists(st.integers(0, 2), max_size=2),
    strings=st.lists(names, max_size=2),
    versions=st.lists(st.sampled_from(["1.0.0", "bad"]), max_size=2),
)
policies = some(
    default=quantities,
    validValues=st.lists(quantities, max_size=3),
    validRange=some(min=quantities, max=quantities, step=quantities),
)
capacities = st.fixed_dictionaries({"value": quantities}, optional={"requestPolicy": policies})
counters = st.dictionaries(names, st.fixed_dictionaries({"value": quantities}), max_size=2)
requirements = some(
    key=st.sampled_from(["", "zone", "metadata.name"]),
    operator=st.sampled_from(["In", "NotIn", "Exists", "Gt", "Near", ""]),
    values=st.lists(st.sampled_from(["a", "1", "node-1"]), max_size=2),
)
terms = some(
    matchExpressions=st.lists(requirements, max_size=2), matchFields=st.lists(requirements, max_size=1)
)
places = {
    "nodeName": st.sampled_from(["node-1", "node-2", ""]),
    "allNodes": maybe,
    "nodeSelector": some(nodeSelectorTerms=st.lists(terms, max_size=2)),
}
taints = some(key=names, value=names, effect=st.sampled_from(["NoSchedule", "NoExecute", "None", "Odd", ""]))
devices = some(
    name=names,
    attributes=st.dictionaries(names, attributes, max_size=3),
    capacity=st.dictionaries(names, capacities, max_size=2),
    consumesCounters=st.lists(some(counterSet=names, counters=counters), max_size=2),
    taints=st.lists(taints, max_size=2),
    bindsToNode=maybe,
    bindingConditions=st.lists(names, max_size=1),
    allowMultipleAllocations=maybe,
    **places,
)
slices = st.builds(
    lambda spec, name, driver, pool: {
        "kind": "ResourceSlice",
        "metadata": {"name": name},
        "spec": {**spec, "driver": driver, "pool": pool},
    },
    some(
        perDeviceNodeSelection=maybe,
        devices=st.lists(devices, max_size=4),
        sharedCounters=st.lists(some(name=names, counters=counters), max_size=2),
        **places,
    ),
    names,
    st.sampled_from(["drv", "x", ""]),
    some(name=names, generation=st.integers(-1, 2), resourceSliceCount=st.integers(-1, 2)),
)
selectors = st.lists(
    some(
        cel=some(
            expression=st.sampled_from(
                ["", "true", "device.driver == 'drv'", "device.attributes['drv'].x == 1", "1", "no such"]
            )
        )
    ),
    max_size=2,
)
tolerations = some(key=names, operator=st.sampled_from(["", "Exists", "Equal", "Odd"]), value=names)
asks: Json = {
    "deviceClassName": st.sampled_from(["all", "all", "all", "strange", "", "missing"]),
    "selectors": selectors,
    "allocationMode": st.sampled_from(["", "ExactCount", "All", "Odd"]),
    "count": st.sampled_from([0, 1, 1, 2, 3, -1, 40, 10**12]),
    "tolerations": st.lists(tolerations, max_size=1),
    "capacity": some(requests=st.dictionaries(names, quantities, max_size=2)),
}
requests = some(
    name=names,
    exactly=some(adminAccess=maybe, **asks),
    firstAvailable=st.lists(some(name=names, **asks), max_size=2),
)
claims = st.builds(
    lambda spec, name: {
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"devices": spec},
    },
    some(
        requests=st.lists(requests, max_size=3),
        constraints=st.lists(
            some(requests=st.lists(names, max_size=2), matchAttribute=names, distinctAttribute=names),
            max_size=2,
        ),
        config=st.lists(some(requests=st.lists(names, max_size=2), opaque=some(driver=names)), max_size=2),
    ),
    st.sampled_from(["one", "two"]),
)
results = some(
    request=names,
    driver=st.sampled_from(["drv", "x"]),
    pool=names,
    device=names,
    adminAccess=maybe,
    shareID=names,
    consumedCapacity=st.dictionaries(names, quantities, max_size=2),
)
allocations = some(devices=some(results=st.lists(results, max_size=3)))
rules = st.builds(
    lambda spec: {"kind": "DeviceTaintRule", "metadata": {"name": "rule"}, "spec": spec},
    some(deviceSelector=some(driver=names, pool=names, device=names), taint=taints),
)
features = st.builds(Features, *[maybe] * 7)
CLASSES = [
    {"kind": "DeviceClass", "metadata": {"name": "all"}},
    {
        "kind": "DeviceClass",
        "metadata": {"name": "strange"},
        "spec": {"selectors": [{}], "config": [{}, {"opaque": {"driver": "drv"}}]},
    },
]


def survive(written, rule, wanted, held, switches):
    fleet = Fleet.of(
        [convert(each, ResourceSlice) for each in written],
        [convert(each, DeviceClass) for each in CLASSES],
        [convert(each, DeviceTaintRule) for each in rule],
        features=switches,
    )
    holders = [
        convert(
            {
                "kind": "ResourceClaim",
                "metadata": {"name": f"holder-{number}", "namespace": "default"},
                "status": {"allocation": each},
            },
            ResourceClaim,
        )
        for number, each in enumerate(held)
    ]
    usage = Usage.of(fleet, holders)
    before = usage.state()
    on = node("node-1", zone="a")
    asked = [convert(each, ResourceClaim) for each in wanted]
    index = NodeIndex(fleet, usage, [on])
    for mode in ("best", "strict"):
        outcome = allocate(fleet, usage, on, asked, mode=mode, budget=2_000)
        assert isinstance(outcome, Allocated | Unallocatable | Invalid | BudgetExceeded)
        if not isinstance(outcome, Allocated):
            continue
        assert mode == "strict" or index.possible(asked)
        for each, allocation in zip(asked, outcome.results, strict=True):
            check(allocation, each, fleet, [on], holders)
            for result in allocation.devices.results:
                assert share_of_result(fleet, result) is not None
    list(clashes(fleet, holders))
    assert usage.state() == before
    for number in range(len(held)):
        usage.release(("default", f"holder-{number}"))
    assert usage.state() == Usage(fleet).state()


arguments = (
    st.lists(slices, max_size=4),
    st.lists(rules, max_size=1),
    st.lists(claims, min_size=1, max_size=2),
    st.lists(allocations, max_size=2),
    features,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(*arguments)
def test_malformed_objects_have_an_outcome(written, rule, wanted, held, switches):
    survive(written, rule, wanted, held, switches)


@pytest.mark.prove
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(*arguments)
def test_many_malformed_objects_have_an_outcome(written, rule, wanted, held, switches):
    survive(written, rule, wanted, held, switches)
