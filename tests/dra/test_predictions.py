"""Predictions of kube-scheduler's allocator that were found by comparing with it on random input."""

import pytest
from tests.dra.build import DRIVER, allocated, alternative, claim, exactly, node, slice_of
from tests.dra.test_quirks import SHAREABLE, device, drawing, kind, names, outcome

from aliquot.cel.quantity import Quantity
from aliquot.dra.capacity import amount_of
from aliquot.dra.cases import AllocationCase
from aliquot.dra.features import Features
from aliquot.dra.outcome import Invalid, Unallocatable
from aliquot.model.kinds import convert
from aliquot.model.resource import DeviceCapacity

ALL = exactly("r", allocationMode="All")
SETS = [{"name": "set", "counters": {"units": {"value": "1"}}}]


def case(**wanted):
    """A case with one device and one request, as recorded: without the defaults of the API server."""
    request = {"name": "r", "exactly": {"deviceClassName": "c", **wanted}}
    return {
        "name": "case",
        "features": {},
        "node": {"metadata": {"name": "n"}},
        "claimsToAllocate": [{"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}}],
        "deviceClasses": [{"metadata": {"name": "c"}}],
        "resourceSlices": [
            {
                "metadata": {"name": "s"},
                "spec": {
                    "driver": "d",
                    "nodeName": "n",
                    "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                    "devices": [{"name": "gpu"}],
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("wanted", "expected", "devices"),
    [
        ({"allocationMode": "ExactCount", "count": 1}, "allocated", 1),
        ({"allocationMode": "ExactCount"}, "allocated", 0),
        ({"allocationMode": "All"}, "allocated", 1),
        ({"count": 1}, "error", 0),
    ],
)
def test_a_recorded_case_has_no_defaults(wanted, expected, devices):
    result = AllocationCase.of(case(**wanted)).result("strict")
    assert result["outcome"] == expected
    found = [each for one in result.get("results", ()) for each in one["devices"].get("results", ())]
    assert len(found) == devices


def test_counters_of_a_slice_of_another_node_are_counted():
    slices = [
        slice_of([drawing("a")], count=2, name="devices", pool="p"),
        slice_of(node="node-2", count=2, name="counters", pool="p", sharedCounters=SETS),
    ]
    assert names(outcome(slices, [claim(exactly())])) == [["a"]]
    spec = {"sharedCounters": SETS, "nodeName": "node-2"}
    slices[1] = slice_of(node="node-2", count=2, name="counters", pool="p", **spec)
    assert names(outcome(slices, [claim(exactly())])) == [["a"]]


def test_a_pool_that_is_not_complete_is_never_invalid():
    slices = [slice_of(["a", "a"], count=2)]
    assert isinstance(outcome(slices, [claim(exactly())]), Unallocatable)
    slices = [slice_of(["a", "a"])]
    result = outcome(slices, [claim(exactly())])
    assert isinstance(result, Invalid)
    assert result.node_only


def test_a_broken_node_selector_is_noticed_where_it_is_read_only():
    broken = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In"}]}]}
    good = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}
    both = {"nodeSelectorTerms": good["nodeSelectorTerms"] + broken["nodeSelectorTerms"]}
    on = node("n", zone="a")
    for selector in (broken, both):
        slices = [slice_of(["a"], pool="a", nodeSelector=selector), slice_of(["b"], node="n", pool="b")]
        assert isinstance(outcome(slices, [claim(exactly())], on=on), Invalid)
    counters = slice_of([], pool="b", count=2, name="sets", nodeSelector=broken, sharedCounters=SETS)
    slices = [counters, slice_of(["b"], node="n", pool="b", count=2, name="devices")]
    assert names(outcome(slices, [claim(exactly())], on=on)) == [["b"]]


def test_a_selector_without_terms_beside_all_nodes_restricts_nothing():
    slices = [slice_of(["a"], pool="a", allNodes=True, nodeSelector={"nodeSelectorTerms": []})]
    for mode in ("strict", "best"):
        result = outcome(slices, [claim(exactly())], mode=mode)
        assert names(result) == [["a"]]
        assert result.results[0].node_selector is None


def test_devices_listed_beside_counters_count_for_validity_and_for_nothing_else():
    unknown = [{"counterSet": "none", "counters": {"units": {"value": "1"}}}]
    odd = {"name": "odd", "consumesCounters": unknown, "bindingConditions": ["ready"]}
    counters = slice_of([odd], node="node-1", pool="p", name="sets", count=2, sharedCounters=SETS)
    result = outcome([counters, slice_of(["a"], pool="p", count=2, name="devices")], [claim(exactly())])
    assert isinstance(result, Invalid)
    fine = {"name": "fine", "bindingConditions": ["ready"]}
    counters = slice_of([fine], node="node-1", pool="p", name="sets", count=2, sharedCounters=SETS)
    slices = [counters, slice_of(["a"], pool="p", count=2, name="devices"), slice_of(["z"], pool="q")]
    assert names(outcome(slices, [claim(exactly())])) == [["a"]]


def test_other_devices_are_tried_unless_every_alternative_is_too_large():
    slices = [slice_of([device("a", kind="x"), *(device(f"d{n}", kind="y") for n in range(33))])]
    first = exactly("first", count=1)
    needs = alternative("small", kind("x"), count=1)
    either = {"name": "r", "firstAvailable": [needs, alternative("many", count=32)]}
    assert names(outcome(slices, [claim(first, either)])) == [["d0", "a"]]


def test_shares_without_capacities_do_not_count_as_drawn():
    shareable = {"allowMultipleAllocations": True}
    sets = slice_of(node="node-1", name="sets", count=2, sharedCounters=SETS)
    wanted = [claim(exactly())]
    plain = [slice_of([drawing("a", **shareable)], count=2, name="devices"), sets]
    held = [allocated("holder", {"device": "a", "shareID": "s"})]
    assert isinstance(outcome(plain, wanted, held=held), Unallocatable)
    sized = [slice_of([drawing("a", **SHAREABLE)], count=2, name="devices"), sets]
    half = [claim(exactly(capacity={"requests": {"size": "2"}}))]
    held = [allocated("holder", {"device": "a", "shareID": "s", "consumedCapacity": {"size": "1"}})]
    assert names(outcome(sized, half, held=held)) == [["a"]]


def test_devices_that_draw_on_counters_are_seen_but_not_allocated_where_counters_are_off():
    slices = [slice_of([drawing("a", allowMultipleAllocations=False), "b"])]
    off = Features(prioritized_list=True)
    assert names(outcome(slices, [claim(exactly())], features=off)) == [["b"]]
    assert isinstance(outcome(slices, [claim(ALL)], features=off), Unallocatable)
    broken = exactly("r", f'device.attributes["{DRIVER}"].none == 1')
    assert isinstance(outcome(slices, [claim(broken)], features=off), Invalid)


def test_selectors_are_not_asked_about_devices_that_wait_for_conditions_where_those_are_off():
    slices = [slice_of([{"name": "a", "bindingConditions": ["ready"]}, device("b", kind="x")])]
    wanted = [claim(exactly("r", kind("x")))]
    assert names(outcome(slices, wanted, features=Features())) == [["b"]]
    assert isinstance(outcome(slices, wanted), Invalid)


def test_selectors_are_not_asked_about_devices_that_the_claim_has():
    slices = [slice_of([{"name": "a"}, device("b", kind="x")])]
    wanted = [claim(exactly("first"), exactly("r", kind("x"), adminAccess=True))]
    assert names(outcome(slices, wanted)) == [["a", "b"]]


@pytest.mark.parametrize("lists", [False, True])
def test_the_first_value_of_distinct_may_be_of_any_type(lists):
    slices = [slice_of([{"name": "a", "attributes": {"g": {}}}])]
    wanted = [claim(exactly(), constraints=[{"distinctAttribute": f"{DRIVER}/g"}])]
    assert names(outcome(slices, wanted, features=Features(consumable_capacity=True, list_attributes=lists)))
    match = [claim(exactly(), constraints=[{"matchAttribute": f"{DRIVER}/g"}])]
    found = outcome(slices, match, features=Features(consumable_capacity=True, list_attributes=lists))
    assert isinstance(found, Unallocatable) is lists


@pytest.mark.parametrize(
    ("capacity", "requested", "taken"),
    [
        ({"value": "8"}, None, "8"),
        ({"value": "8", "requestPolicy": {"validValues": ["1", "2"]}}, None, None),
        ({"value": "8", "requestPolicy": {"validRange": {"min": "1", "max": "4"}}}, None, None),
        ({"value": "8", "requestPolicy": {"default": "3", "validValues": ["1", "2"]}}, None, "3"),
        ({"value": "8", "requestPolicy": {"validRange": {"min": "1", "max": "8"}}}, None, "8"),
        ({"value": "8", "requestPolicy": {"validRange": {"min": "2", "step": "3"}}}, "3", "5"),
        ({"value": "8", "requestPolicy": {"validRange": {"max": "4"}}}, "3", "3"),
        ({"value": "8", "requestPolicy": {"default": "4", "validRange": {"min": "1", "max": "2"}}}, "4", "4"),
        (
            {
                "value": "8",
                "requestPolicy": {"default": "4", "validRange": {"min": "1", "max": "2", "step": "1"}},
            },
            "4",
            None,
        ),
    ],
)
def test_policies_hold_for_what_is_taken_without_a_request_too(capacity, requested, taken):
    amount = amount_of(convert(capacity, DeviceCapacity), requested and Quantity.parse(requested))
    assert amount == (None if taken is None else Quantity.parse(taken))


def test_a_device_that_is_no_longer_shareable_keeps_what_shares_take():
    slices = [slice_of([{"name": "a", "capacity": {"size": {"value": "4"}}}])]
    held = [allocated("holder", {"device": "a", "shareID": "s", "consumedCapacity": {"size": "3"}})]
    two = [claim(exactly(capacity={"requests": {"size": "2"}}))]
    assert isinstance(outcome(slices, two, held=held), Unallocatable)
    one = [claim(exactly(capacity={"requests": {"size": "1"}}))]
    assert names(outcome(slices, one, held=held)) == [["a"]]


def test_a_request_for_all_counts_for_nothing_where_the_size_of_a_claim_is_foreseen():
    few = {"name": "r", "firstAvailable": [alternative("all", allocationMode="All", cls="other")]}
    wanted = [claim(few, exactly("many", count=32))]
    slices = [slice_of([f"d{number}" for number in range(40)])]
    for mode in ("strict", "best"):
        assert isinstance(outcome(slices, wanted, mode=mode), Unallocatable)
