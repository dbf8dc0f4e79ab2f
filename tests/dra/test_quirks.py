"""Behaviour of kube-scheduler's allocator that one would not guess (strict), and what best does instead."""

import pytest
from tests.dra.build import (
    DRIVER,
    allocated,
    alternative,
    claim,
    device_class,
    exactly,
    node,
    partitioned,
    slice_of,
)

from aliquot.dra.allocator import allocate
from aliquot.dra.features import Features
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated, BudgetExceeded, Invalid, Unallocatable
from aliquot.dra.usage import Usage
from aliquot.model.core import Node

CLASSES = [device_class("gpu"), device_class("other", 'device.driver == "other.example.com"')]
TAINT = [{"key": "sick", "effect": "NoSchedule"}]


def device(name, **attributes):
    kinds = {int: "int", str: "string", list: "ints"}
    return {"name": name, "attributes": {n: {kinds[type(v)]: v} for n, v in attributes.items()}}


def kind(value):
    return f'device.attributes["{DRIVER}"].kind == "{value}"'


def outcome(slices, claims, mode="strict", held=(), on: Node | None = None, **options):
    fleet = Fleet.of(slices, CLASSES, **options)
    return allocate(fleet, Usage.of(fleet, held), on or node(), claims, mode=mode)


def names(result):
    assert isinstance(result, Allocated), result
    return [[each.device for each in one.devices.results] for one in result.results]


def test_devices_are_tried_as_listed_slices_and_pools_by_name():
    slices = [
        slice_of(["z", "a"], pool="b", name="slice-2", count=2),
        slice_of(["m"], pool="b", name="slice-10", count=2),
        slice_of(["last"], pool="c"),
        slice_of(["first"], pool="a"),
    ]
    assert names(outcome(slices, [claim(exactly(count=5))])) == [["first", "m", "z", "a", "last"]]


def test_a_pool_with_binding_conditions_comes_last_even_if_they_are_off():
    slices = [
        slice_of([{"name": "x", "bindingConditions": ["ready"]}, "y"], pool="a"),
        slice_of(["z"], pool="b"),
    ]
    assert names(outcome(slices, [claim(exactly())])) == [["z"]]
    assert names(outcome(slices, [claim(exactly(count=2))], features=Features())) == [["z", "y"]]


def test_a_broken_selector_behind_the_chosen_device_is_not_noticed():
    slices = [slice_of([device("good", kind="a"), "bad"])]
    assert names(outcome(slices, [claim(exactly("r", kind("a")))])) == [["good"]]
    two = outcome(slices, [claim(exactly("r", kind("a"), count=2))])
    assert isinstance(two, Invalid)
    assert two.path == "spec.devices.requests[0].exactly.selectors[0]"
    held = [allocated("holder", "bad")]
    assert isinstance(outcome(slices, [claim(exactly("r", kind("a"), count=2))], held=held), Unallocatable)


def test_all_fails_for_good_when_any_pool_of_the_node_is_incomplete():
    slices = [slice_of(["a"]), slice_of(["b"], driver="other.example.com", pool="x", count=2)]
    whole = exactly("r", allocationMode="All")
    either = {
        "name": "r",
        "firstAvailable": [alternative("all", allocationMode="All"), alternative("one", count=1)],
    }
    assert isinstance(outcome(slices, [claim(whole)]), Invalid)
    assert isinstance(outcome(slices, [claim(either)]), Invalid)
    assert names(outcome(slices, [claim(either)], mode="best")) == [["a"]]
    assert names(outcome(slices, [claim(exactly())])) == [["a"]]


def test_a_constraint_broken_by_all_is_an_error_for_strict_only():
    slices = [slice_of([device("a", g=1), device("b", g=2)])]
    either = {
        "name": "r",
        "firstAvailable": [alternative("all", allocationMode="All"), alternative("one", count=1)],
    }
    wanted = [claim(either, constraints=[{"matchAttribute": f"{DRIVER}/g"}])]
    assert isinstance(outcome(slices, wanted), Invalid)
    assert names(outcome(slices, wanted, mode="best")) == [["a"]]


def test_a_too_large_request_jumps_to_the_next_alternative():
    slices = [slice_of([f"d{number}" for number in range(40)])]
    either = {"name": "r", "firstAvailable": [alternative("many", count=30), alternative("few", count=2)]}
    result = outcome(slices, [claim(exactly("first", count=20), either)])
    assert [len(each) for each in names(result)] == [22]
    assert isinstance(outcome(slices, [claim(exactly(count=33))]), Invalid)
    assert [
        len(each)
        for each in names(
            outcome(
                [slice_of([f"d{n}" for n in range(64)])],
                [claim(exactly(count=32), name="a"), claim(exactly(count=32), name="b")],
            )
        )
    ] == [32, 32]


def test_distinct_values_are_kept_per_request_so_that_a_b_a_passes():
    slices = [slice_of([device("x", g=1), device("y", g=2), device("z", g=1)])]
    wanted = [claim(exactly(count=3), constraints=[{"distinctAttribute": f"{DRIVER}/g"}])]
    assert names(outcome(slices, wanted)) == [["x", "y", "z"]]
    assert isinstance(outcome(slices, wanted, mode="best"), Unallocatable)


def test_without_newer_features_distinct_attribute_is_an_error():
    slices = [slice_of([device("x", g=1)])]
    wanted = [claim(exactly(), constraints=[{"distinctAttribute": f"{DRIVER}/g"}])]
    assert isinstance(outcome(slices, wanted, kubernetes=(1, 35)), Invalid)


def test_list_intersections_stay_narrow_after_backtracking():
    features = Features(list_attributes=True)
    slices = [slice_of([device("a", g=[1, 2]), device("b", g=[1]), device("c", g=[2]), device("d", g=[2])])]
    wanted = [claim(exactly(count=3), constraints=[{"matchAttribute": f"{DRIVER}/g"}])]
    assert isinstance(outcome(slices, wanted, features=features), Unallocatable)
    assert names(outcome(slices, wanted, mode="best", features=features)) == [["a", "c", "d"]]


def test_a_list_is_accepted_for_the_first_device_where_lists_are_off():
    slices = [slice_of([device("a", g=[1]), device("b", g=[1])])]
    constraint = {"constraints": [{"matchAttribute": f"{DRIVER}/g"}]}
    for mode in ("strict", "best"):
        assert names(outcome(slices, [claim(exactly(), **constraint)], mode=mode)) == [["a"]]
        two = outcome(slices, [claim(exactly(count=2), **constraint)], mode=mode)
        assert isinstance(two, Unallocatable)


def test_admin_access_then_normal_fails_but_normal_then_admin_works():
    slices = [slice_of(["a"])]
    admin, normal = claim(exactly(adminAccess=True), name="admin"), claim(exactly(), name="normal")
    assert isinstance(outcome(slices, [admin, normal]), Unallocatable)
    assert names(outcome(slices, [normal, admin])) == [["a"], ["a"]]
    assert names(outcome(slices, [admin, normal], mode="best")) == [["a"], ["a"]]
    both = claim(exactly("x", adminAccess=True), exactly("y", adminAccess=True))
    for mode in ("strict", "best"):
        assert isinstance(outcome(slices, [both], mode=mode), Unallocatable)


def test_admin_access_draws_on_counters_even_for_a_device_in_use():
    slices = partitioned(1)
    wanted = [claim(exactly("r", kind("whole"), adminAccess=True))]
    held = [allocated("holder", "gpu-0-whole-0")]
    assert isinstance(outcome(slices, wanted, held=held), Unallocatable)
    assert names(outcome(slices, wanted, held=held, mode="best")) == [["gpu-0-whole-0"]]


def drawing(name, amount=1, **fields):
    draws = [{"counterSet": "set", "counters": {"units": {"value": str(amount)}}}]
    return {**device(name), "consumesCounters": draws, **fields}


def counted(devices, units=1, *, pool="node-1", driver=DRIVER):
    sets = [{"name": "set", "counters": {"units": {"value": str(units)}}}]
    return [
        slice_of(devices, count=2, name=f"{driver}-devices", pool=pool, driver=driver),
        slice_of([], count=2, name=f"{driver}-counters", pool=pool, driver=driver, sharedCounters=sets),
    ]


def test_counters_drawn_for_a_tainted_device_are_not_given_back():
    slices = counted([drawing("tainted", taints=TAINT), drawing("fine")])
    assert isinstance(outcome(slices, [claim(exactly())]), Unallocatable)
    assert names(outcome(slices, [claim(exactly())], mode="best")) == [["fine"]]


def test_an_overdrawn_counter_blocks_every_device_that_draws_on_any():
    slices = counted([drawing("a"), drawing("b")])
    other = {"name": "free", "counters": {"units": {"value": "5"}}}
    slices[1] = slice_of(
        [],
        count=2,
        name="counters",
        sharedCounters=[{"name": "set", "counters": {"units": {"value": "1"}}}, other],
    )
    draws = [{"counterSet": "free", "counters": {"units": {"value": "1"}}}]
    slices[0] = slice_of(
        [drawing("a"), drawing("b"), {"name": "c", "consumesCounters": draws}], count=2, name="devices"
    )
    held = [allocated("one", "a"), allocated("two", "b")]
    assert isinstance(outcome(slices, [claim(exactly())], held=held), Unallocatable)
    assert names(outcome(slices, [claim(exactly())], held=held, mode="best")) == [["c"]]


def test_two_drivers_with_the_same_pool_name_mix_up_their_counters():
    slices = [
        *counted([drawing("a", 1)], units=1, pool="same"),
        *counted([drawing("b", 1)], units=5, pool="same", driver="other.example.com"),
    ]
    wanted = [claim(exactly("x"), exactly("y", cls="other"))]
    assert isinstance(outcome(slices, wanted), Unallocatable)
    assert names(outcome(slices, wanted, mode="best")) == [["a", "b"]]


SHAREABLE = {"allowMultipleAllocations": True, "capacity": {"size": {"value": "4"}}}


def test_counters_are_paid_for_the_first_share_only():
    slices = counted([drawing("a", **SHAREABLE)])
    want = {"capacity": {"requests": {"size": "2"}}}
    for mode in ("strict", "best"):
        shares = outcome(slices, [claim(exactly("x", **want), exactly("y", **want))], mode=mode)
        assert names(shares) == [["a", "a"]]


def test_two_slots_of_one_request_need_two_devices_even_if_shareable():
    slices = [slice_of([{"name": "a", **SHAREABLE}])]
    want = {"capacity": {"requests": {"size": "1"}}}
    for mode in ("strict", "best"):
        assert isinstance(outcome(slices, [claim(exactly(count=2, **want))], mode=mode), Unallocatable)


def test_an_old_generation_that_is_complete_on_the_node_is_used_by_strict_only():
    slices = [
        slice_of(["old"], pool="p", name="one", generation=1, count=1),
        slice_of(["new"], pool="p", name="two", node="node-2", generation=2, count=1),
    ]
    assert names(outcome(slices, [claim(exactly())])) == [["old"]]
    assert isinstance(outcome(slices, [claim(exactly())], mode="best"), Unallocatable)


def test_too_many_slices_make_a_pool_incomplete():
    slices = [slice_of(["a"], name="one"), slice_of(["b"], name="two")]
    for mode in ("strict", "best"):
        assert isinstance(outcome(slices, [claim(exactly())], mode=mode), Unallocatable)


def test_device_names_may_repeat_on_other_nodes_for_strict_only():
    slices = [
        slice_of(["a"], pool="p", name="one", count=2),
        slice_of(["a"], pool="p", name="two", node="node-2", count=2),
    ]
    assert names(outcome(slices, [claim(exactly())])) == [["a"]]
    assert isinstance(outcome(slices, [claim(exactly())], mode="best"), Unallocatable)


def test_a_claim_config_is_repeated_per_request_up_to_1_36():
    slices = [slice_of(["a", "b"])]
    config = {"requests": ["x", "y"], "opaque": {"driver": DRIVER, "parameters": {}}}
    wanted = [claim(exactly("x"), exactly("y"), config=[config])]

    def configs(**options):
        result = outcome(slices, wanted, **options)
        assert isinstance(result, Allocated)
        return [each.requests for each in result.results[0].devices.config]

    assert configs() == [("x", "y"), ("x", "y")]
    assert configs(kubernetes=(1, 37)) == [()]
    assert configs(mode="best") == [("x", "y")]


@pytest.mark.parametrize("mode", ["strict", "best"])
def test_a_claim_for_nothing_gets_nothing_anywhere(mode):
    result = outcome([], [claim(exactly(count=0)), claim(name="empty")], mode=mode)
    assert names(result) == [[], []]
    assert [each.node_selector for each in result.results] == [None, None]


@pytest.mark.parametrize("mode", ["strict", "best"])
def test_node_selectors_of_the_devices_are_joined(mode):
    def selector(key, *values):
        expression = {"key": key, "operator": "In", "values": list(values)}
        return {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}

    slices = [
        slice_of(["a"], pool="a", nodeSelector=selector("zone", "1", "2")),
        slice_of(["b"], pool="b", nodeSelector=selector("zone", "2", "1")),
        slice_of(["c"], pool="c", nodeSelector=selector("rack", "x")),
        slice_of(["d"], pool="d", allNodes=True),
    ]
    result = outcome(slices, [claim(exactly(count=4))], mode=mode, on=node("n", zone="1", rack="x"))
    assert isinstance(result, Allocated)
    (term,) = result.results[0].node_selector.node_selector_terms
    assert [each.key for each in term.match_expressions] == ["zone", "rack"]
    assert isinstance(outcome(slices, [claim(exactly(count=4))], mode=mode, on=node("n")), Unallocatable)


def test_a_selector_of_several_terms_is_an_error_for_strict_after_the_search():
    term = {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}
    two = {"nodeSelectorTerms": [term, {"matchExpressions": [{"key": "rack", "operator": "Exists"}]}]}
    slices = [slice_of(["a"], pool="a", nodeSelector=two)]
    on = node("n", zone="1")
    assert isinstance(outcome(slices, [claim(exactly())], on=on), Invalid)
    assert names(outcome(slices, [claim(exactly())], on=on, mode="best")) == [["a"]]
    local = slice_of(["b"], node="n", pool="0")
    assert names(outcome([*slices, local], [claim(exactly(count=2))], on=on)) == [["b", "a"]]


@pytest.mark.parametrize("mode", ["strict", "best"])
def test_a_claim_set_nested_deeper_than_the_call_stack_is_searched(mode):
    slices = [slice_of([f"d{number}" for number in range(1280)])]
    claims = [claim(exactly(count=32), name=f"c{number}") for number in range(40)]
    assert sum(map(len, names(outcome(slices, claims, mode=mode)))) == 1280


@pytest.mark.parametrize("mode", ["strict", "best"])
def test_a_search_that_grows_too_long_says_so(mode):
    slices = [slice_of([device(f"d{number}", g=number) for number in range(20)])]
    requests = [exactly(f"r{number}", f'device.attributes["{DRIVER}"].g < 19') for number in range(19)]
    fleet = Fleet.of(slices, CLASSES)
    wanted = [claim(*requests, exactly("r", f'device.attributes["{DRIVER}"].g == 0'))]
    result = allocate(fleet, Usage(fleet), node(), wanted, mode=mode, budget=50)
    assert isinstance(result, BudgetExceeded)
    assert result.steps >= 50
