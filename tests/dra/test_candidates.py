"""The index of nodes against asking the allocator about every node."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dra.build import (
    DRIVER,
    alternative,
    claim,
    device_class,
    exactly,
    node,
    partitioned,
    slice_of,
)

from aliquot.dra.allocator import allocate
from aliquot.dra.candidates import NodeIndex
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated
from aliquot.dra.pools import members
from aliquot.dra.usage import Usage

CLASSES = [device_class("gpu", f'device.driver == "{DRIVER}"'), device_class("net", 'device.driver == "net"')]
NODES = [node(f"node-{number}", **({"zone": "a"} if number % 2 else {})) for number in range(5)]
ZONE_A = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
SHAREABLE = {"name": "big", "allowMultipleAllocations": True, "capacity": {"size": {"value": "4"}}}
SLICES = [
    slice_of(["a", "b"], node="node-0"),
    *partitioned(2, node="node-1"),
    slice_of([SHAREABLE, "small"], node="node-2"),
    slice_of(["p"], node="node-3", pool="both", name="both-3", count=2),
    slice_of(["q", "r"], node="node-4", pool="both", name="both-4", count=2),
    slice_of(["x", "y"], pool="zonal", driver="net", nodeSelector=ZONE_A),
    slice_of(["z"], pool="global", driver="net", allNodes=True),
]
CLAIMS = [
    claim(exactly()),
    claim(exactly(count=2)),
    claim(exactly("r", f'device.attributes["{DRIVER}"].?kind.orValue("") == "half"', count=2)),
    claim(exactly("r", capacity={"requests": {"size": "3"}})),
    claim(
        exactly("x", capacity={"requests": {"size": "2"}}), exactly("y", capacity={"requests": {"size": "2"}})
    ),
    claim(exactly("r", allocationMode="All")),
    claim(exactly("r", adminAccess=True)),
    claim({"name": "r", "firstAvailable": [alternative("three", count=3), alternative("net", cls="net")]}),
    claim(exactly("g"), exactly("n", cls="net")),
    claim(exactly("n", cls="net", count=2)),
    claim(exactly("r", count=0)),
]


def allocatable(fleet, usage, wanted):
    return {
        number
        for number, each in enumerate(NODES)
        if isinstance(allocate(fleet, usage, each, [wanted]), Allocated)
    }


numbers = st.integers(0, len(CLAIMS) - 1)
places = st.integers(0, len(NODES) - 1)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(numbers, places, st.booleans()), max_size=12))
def test_no_node_that_serves_a_claim_is_left_out_and_counts_stay_exact(steps):
    fleet = Fleet.of(SLICES, CLASSES)
    usage = Usage(fleet)
    index = NodeIndex(fleet, usage, NODES)
    held = []
    for at, (number, place, undo) in enumerate(steps):
        wanted = CLAIMS[number]
        possible = set(members(index.possible([wanted])))
        assert allocatable(fleet, usage, wanted) <= possible
        assert sorted(index.candidates([wanted])) == sorted(possible)
        if undo and held:
            usage.undo(held.pop())
        result = allocate(fleet, usage, NODES[place], [wanted])
        if isinstance(result, Allocated):
            held.append(usage.mark())
            usage.take(("default", f"claim-{at}"), result.results[0])
    fresh = NodeIndex(fleet, usage, NODES)
    for wanted in CLAIMS:
        assert fresh.possible([wanted]) == index.possible([wanted])
        assert list(fresh.candidates([wanted])) == list(index.candidates([wanted]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(numbers, st.integers(0, len(NODES) - 1)), max_size=8), st.integers(0, 8), st.booleans()
)
def test_an_index_taken_over_equals_a_fresh_one(steps, split, change_fleet):
    fleet = Fleet.of(SLICES, CLASSES)
    usage = Usage(fleet)
    index = NodeIndex(fleet, usage, NODES)
    for wanted in CLAIMS:
        index.possible([wanted])
    for at, (number, place) in enumerate(steps[:split]):
        result = allocate(fleet, usage, NODES[place], [CLAIMS[number]])
        if isinstance(result, Allocated):
            usage.take(("default", f"claim-{at}"), result.results[0])
    if change_fleet:
        fleet = Fleet.of([*SLICES[1:], slice_of(["a"], node="node-0")], CLASSES, previous=fleet)
    later = Usage.of(fleet, [], previous=usage)
    kept = NodeIndex.of(fleet, later, NODES, previous=index)
    fresh = NodeIndex(fleet, later, NODES)
    for wanted in CLAIMS:
        assert kept.possible([wanted]) == fresh.possible([wanted])
        assert list(kept.candidates([wanted])) == list(fresh.candidates([wanted]))


def test_the_node_with_the_fewest_devices_to_spare_comes_first():
    fleet = Fleet.of(SLICES, CLASSES)
    index = NodeIndex(fleet, Usage(fleet), NODES)
    assert list(index.candidates([claim(exactly(count=2))])) == [0, 2, 4, 1]
    assert list(index.candidates([claim(exactly(count=2))], among=0b10001)) == [0, 4]
    assert list(index.candidates([claim(exactly(count=20))])) == []


def test_an_invalid_claim_is_left_to_the_allocator():
    fleet = Fleet.of(SLICES, CLASSES)
    index = NodeIndex(fleet, Usage(fleet), NODES)
    assert index.possible([claim(exactly(cls="missing"))]) == index.everything
    assert index.possible([claim(exactly("r", "nonsense("))]) == index.everything


def test_what_is_remembered_of_ever_new_claims_is_bounded(monkeypatch):
    monkeypatch.setattr("aliquot.dra.requests.MAX_JUDGEMENTS", 40)
    monkeypatch.setattr("aliquot.dra.selectors.MAX_RESULTS", 40)
    fleet = Fleet.of(SLICES, CLASSES)
    usage = Usage(fleet)
    index = NodeIndex(fleet, usage, NODES)
    for number in range(50):
        wanted = claim(exactly("r", f'device.driver != "{number}"'))
        assert set(members(index.possible([wanted]))) >= allocatable(fleet, usage, wanted)
        assert len(fleet.demands) * len(fleet.pools) <= 40 + len(fleet.pools)
        index = NodeIndex.of(fleet, usage, NODES, previous=index)
        assert len(index._counts) <= len(fleet.demands)
