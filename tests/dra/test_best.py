"""Mode best against an oracle, and what it chooses."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
from tests.dra.instances import Ask, Dev, Problem, problems, solvable, symmetric_problems

from aliquot.dra.allocator import allocate
from aliquot.dra.checker import check
from aliquot.dra.clashes import clashes
from aliquot.dra.features import Features
from aliquot.dra.fleet import Fleet
from aliquot.dra.objective import DEFAULT, Objective
from aliquot.dra.outcome import Allocated, Invalid, Unallocatable
from aliquot.dra.usage import Usage
from aliquot.model.resource import ResourceClaim, ResourceClaimStatus

CLASSES = [device_class("gpu", f'device.driver == "{DRIVER}"')]


NO_PREFERENCE = Objective(spread=0, crowd=0, size=0, opens=0, loses=0, slack=0, delays=0, tainted=0)
CONTRARY = Objective(spread=-1, crowd=-1, size=-1, opens=-1, loses=-1, slack=-1)


def agree_with_the_oracle(problem: Problem, objective: Objective = DEFAULT) -> None:
    fleet = Fleet.of(problem.slices(), CLASSES)
    holders = problem.holders()
    usage = Usage.of(fleet, holders)
    before = usage.state()
    outcome = allocate(fleet, usage, problem.node(), problem.wanted(), objective=objective)
    assert isinstance(outcome, Allocated | Unallocatable)
    assert isinstance(outcome, Allocated) is solvable(problem)
    assert usage.state() == before
    if isinstance(outcome, Unallocatable):
        assert outcome.falls or outcome.needs
        return
    claims = problem.wanted()
    served = [
        ResourceClaim(metadata=each.metadata, spec=each.spec, status=ResourceClaimStatus(allocation=result))
        for each, result in zip(claims, outcome.results, strict=True)
    ]
    overdrawn = {(violation.rule, violation.subject) for violation in clashes(fleet, holders)}
    for each in served:
        allocation = each.status.allocation
        assert allocation is not None
        # All is fixed before the call, so that only earlier holders decide what belongs to it.
        wrong = check(allocation, each, fleet, [problem.node()], holders)
        assert not [each for each in wrong if (each.rule, each.subject) not in overdrawn]
        usage.take(each.key, allocation)
    for each in served:
        usage.release(each.key)
    assert usage.state() == before


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(), st.sampled_from([DEFAULT, NO_PREFERENCE, CONTRARY]))
def test_what_is_solvable_is_solved_and_every_result_is_valid(problem, objective):
    agree_with_the_oracle(problem, objective)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(symmetric_problems(), st.sampled_from([DEFAULT, NO_PREFERENCE, CONTRARY]))
def test_devices_that_look_the_same_hide_no_solution(problem, objective):
    agree_with_the_oracle(problem, objective)


def test_which_claim_has_which_device_counts_where_one_asks_for_admin_access():
    """Three devices for two claims; the second asks for admin access to two more, not those it has."""

    def device(name: str, kind: str, group: int, *, used: bool = False) -> Dev:
        draws = {name[:5]: int(name[-1])}
        return Dev(name, kind, group, draws, None, 1, tainted=False, used=used, consumed=0)

    def ask(kind: str | None, count: int, *, admin: bool = False) -> list[Ask]:
        return [Ask(kind, count, admin, tolerates=False, amount=None)]

    problem = Problem(
        devices=[
            device("set-0-2", "b", 0),
            device("set-1-1", "a", 0),
            device("set-2-2", "b", 2, used=True),
            device("set-2-1", "a", 2),
        ],
        counters={"set-0": 3, "set-1": 3, "set-2": 3},
        claims=[[ask(None, 1)], [ask(None, 2), ask("b", 2, admin=True)]],
    )

    # Whichever claim has set-0-2, the same three devices are taken; only the first may have it.
    assert solvable(problem)
    for objective in (DEFAULT, NO_PREFERENCE, CONTRARY):
        agree_with_the_oracle(problem, objective)


@pytest.mark.prove
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(problems(), symmetric_problems()), st.sampled_from([DEFAULT, NO_PREFERENCE, CONTRARY]))
def test_ten_thousand_times_what_is_solvable_is_solved(problem, objective):
    agree_with_the_oracle(problem, objective)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems())
def test_what_strict_allocates_is_valid_and_best_allocates_something_too(problem):
    # With distinct attributes and admin access strict allocates what the API forbids.
    problem.constraints = [each for each in problem.constraints if not each[1]]
    for ask in (ask for requests in problem.claims for asks in requests for ask in asks):
        ask.admin = False
    fleet = Fleet.of(problem.slices(), CLASSES)
    holders = problem.holders()
    usage = Usage.of(fleet, holders)
    outcome = allocate(fleet, usage, problem.node(), problem.wanted(), mode="strict")
    if not isinstance(outcome, Allocated):
        return
    assert isinstance(allocate(fleet, usage, problem.node(), problem.wanted()), Allocated)
    for wanted, allocation in zip(problem.wanted(), outcome.results, strict=True):
        wrong = check(allocation, wanted, fleet, [problem.node()], holders)
        assert not [each for each in wrong if each.rule != "CounterExceeded"]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(), problems())
def test_a_fleet_taken_over_allocates_the_same_as_a_fresh_one(before, after):
    first = Fleet.of(before.slices(), CLASSES)
    allocate(first, Usage.of(first, before.holders()), before.node(), before.wanted())
    later = Fleet.of(after.slices(), CLASSES, previous=first)
    fresh = Fleet.of(after.slices(), CLASSES)
    assert allocate(later, Usage.of(later, after.holders()), after.node(), after.wanted()) == allocate(
        fresh, Usage.of(fresh, after.holders()), after.node(), after.wanted()
    )


def kind(value):
    return f'device.attributes["{DRIVER}"].kind == "{value}"'


def chosen(slices, *claims, held=(), **options):
    fleet = Fleet.of(slices, CLASSES)
    result = allocate(fleet, Usage.of(fleet, held), node(), claims, **options)
    assert isinstance(result, Allocated), result
    return [[each.device for each in one.devices.results] for one in result.results]


def test_a_partition_is_cut_from_a_device_that_is_broken_already():
    held = [allocated("holder", "gpu-1-quarter-0")]
    assert chosen(partitioned(3), claim(exactly("r", kind("half"))), held=held) == [["gpu-1-half-0"]]


def test_a_partition_is_given_rather_than_a_whole_device_where_both_match():
    assert chosen(partitioned(2), claim(exactly())) == [["gpu-0-quarter-0"]]


def test_the_place_of_a_partition_leaves_the_most_for_others():
    """Of 4 slots, 2 taken at the left: the third is better for a single than the half that is still whole."""
    units = {f"slot-{number}": {"value": "1"} for number in range(6)}
    devices = []
    for first, width in [(0, 2), (2, 2), (4, 2), *((single, 1) for single in range(6))]:
        slots = {f"slot-{number}": {"value": "1"} for number in range(first, first + width)}
        devices.append(
            {
                "name": f"at-{first}-{width}",
                "attributes": {"kind": {"string": f"w{width}"}},
                "consumesCounters": [{"counterSet": "gpu", "counters": slots}],
            }
        )
    slices = [
        slice_of(devices, count=2, name="devices"),
        slice_of([], count=2, name="sets", sharedCounters=[{"name": "gpu", "counters": units}]),
    ]
    held = [allocated("holder", "at-2-1")]
    assert chosen(slices, claim(exactly("r", kind("w1"))), held=held) == [["at-3-1"]]


def near(name, numa, root):
    return {
        "name": name,
        "attributes": {
            "resource.kubernetes.io/numaNode": {"int": numa},
            "resource.kubernetes.io/pcieRoot": {"string": root},
        },
    }


EIGHT = [near(f"gpu-{number}", number // 4, f"pci-{number // 2}") for number in range(8)]


@pytest.mark.parametrize(
    ("taken", "count", "expected"),
    [
        ([], 4, ["gpu-0", "gpu-1", "gpu-2", "gpu-3"]),
        (["gpu-0"], 4, ["gpu-4", "gpu-5", "gpu-6", "gpu-7"]),
        (["gpu-5"], 1, ["gpu-4"]),
        (["gpu-0", "gpu-4", "gpu-5"], 2, ["gpu-6", "gpu-7"]),
    ],
)
def test_devices_are_taken_close_together_and_from_broken_groups(taken, count, expected):
    held = [allocated("holder", *taken)]
    (devices,) = chosen([slice_of(EIGHT)], claim(exactly(count=count)), held=held)
    assert sorted(devices) == expected


def test_a_share_goes_to_the_fullest_device_that_has_room():
    big = {"allowMultipleAllocations": True, "capacity": {"size": {"value": "10"}}}
    slices = [slice_of([{"name": name, **big} for name in "abc"])]
    held = [
        allocated("one", {"device": "b", "shareID": "1", "consumedCapacity": {"size": "4"}}),
        allocated("two", {"device": "c", "shareID": "2", "consumedCapacity": {"size": "8"}}),
    ]
    want = claim(exactly("r", capacity={"requests": {"size": "3"}}))
    assert chosen(slices, want, held=held) == [["b"]]


def test_devices_without_conditions_and_taints_are_preferred():
    tolerant = {"tolerations": [{"operator": "Exists"}]}
    devices = [
        {"name": "slow", "bindingConditions": ["ready"]},
        {"name": "sick", "taints": [{"key": "k", "effect": "NoSchedule"}]},
        "fine",
    ]
    assert chosen([slice_of(devices)], claim(exactly(**tolerant))) == [["fine"]]
    assert chosen([slice_of(devices)], claim(exactly(count=2, **tolerant))) == [["fine", "sick"]]


def test_another_objective_chooses_otherwise():
    spread = Objective(spread=-5.0, crowd=0.0)
    (devices,) = chosen([slice_of(EIGHT)], claim(exactly(count=2)), objective=spread)
    assert len({int(name[-1]) // 4 for name in devices}) == 2


def test_alternatives_are_taken_in_order_of_preference():
    either = {
        "name": "r",
        "firstAvailable": [alternative("whole", kind("whole"), count=3), alternative("part", kind("half"))],
    }
    assert chosen(partitioned(3), claim(either)) == [["gpu-0-whole-0", "gpu-1-whole-0", "gpu-2-whole-0"]]
    assert chosen(partitioned(2), claim(either)) == [["gpu-0-half-0"]]


def test_what_cannot_be_served_says_how_many_devices_fell_where():
    devices = [
        {"name": "a", "attributes": {"kind": {"string": "x"}}},
        {"name": "b", "attributes": {"kind": {"string": "y"}}},
        {
            "name": "c",
            "attributes": {"kind": {"string": "x"}},
            "taints": [{"key": "k", "effect": "NoSchedule"}],
        },
        {"name": "d"},
    ]
    fleet = Fleet.of([slice_of(devices)], CLASSES)
    usage = Usage.of(fleet, [allocated("holder", "a")])
    outcome = allocate(fleet, usage, node(), [claim(exactly("r", kind("x"), count=2))])
    assert isinstance(outcome, Unallocatable)
    assert {(fall.test, fall.subject, fall.count) for fall in outcome.falls} == {
        ("selectorError", "claim/r", 1),
        ("selector", "claim/r", 1),
        ("taint", "claim/r", 1),
        ("inUse", "claim/r", 1),
    }
    assert [(need.wanted, need.free) for need in outcome.needs] == [(2, 0)]


def test_devices_that_disagree_are_named_by_their_constraint():
    fleet = Fleet.of([slice_of(EIGHT)], CLASSES)
    root = "resource.kubernetes.io/pcieRoot"
    wanted = claim(exactly(count=3), constraints=[{"matchAttribute": root}])
    outcome = allocate(fleet, Usage(fleet), node(), [wanted])
    assert isinstance(outcome, Unallocatable)
    assert [(fall.test, fall.detail, fall.count) for fall in outcome.falls] == [("constraint", root, 6)]


def test_requests_that_want_the_same_devices_are_a_combination():
    fleet = Fleet.of([slice_of(["a", "b"])], CLASSES)
    outcome = allocate(fleet, Usage(fleet), node(), [claim(exactly("x", count=2), exactly("y"))])
    assert isinstance(outcome, Unallocatable)
    assert [fall.test for fall in outcome.falls] == ["combination"]


def test_an_unusable_pool_is_named():
    fleet = Fleet.of([slice_of(["a"], count=2)], CLASSES)
    outcome = allocate(fleet, Usage(fleet), node(), [claim(exactly())])
    assert isinstance(outcome, Unallocatable)
    (fall,) = outcome.falls
    assert fall.test == "pool"
    assert "1 of 2 slices" in fall.detail


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (exactly(cls=""), "spec.devices.requests[0].exactly.deviceClassName"),
        (exactly(cls="missing"), "spec.devices.requests[0].exactly.deviceClassName"),
        (exactly(allocationMode="Some"), "spec.devices.requests[0].exactly.allocationMode"),
        (exactly(count=-1), "spec.devices.requests[0].exactly.count"),
        (exactly(count=33), "spec.devices.requests"),
        (exactly("r", "device.nonsense"), "spec.devices.requests[0].exactly.selectors[0]"),
        ({"name": "r"}, "spec.devices.requests[0]"),
        (
            {"name": "r", "firstAvailable": [alternative("a"), alternative("b", cls="missing")]},
            "spec.devices.requests[0].firstAvailable[1].deviceClassName",
        ),
    ],
)
def test_a_claim_that_can_never_be_served_names_the_field(wanted, path):
    fleet = Fleet.of([slice_of(["a"])], CLASSES)
    outcome = allocate(fleet, Usage(fleet), node(), [claim(wanted)])
    assert isinstance(outcome, Invalid)
    assert (outcome.claim, outcome.path) == ("default/claim", path)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (exactly(adminAccess=False), "adminAccess"),
        (exactly(capacity={}), "capacity"),
        ({"name": "r", "firstAvailable": [alternative("a")]}, "firstAvailable"),
    ],
)
def test_what_needs_a_feature_that_is_off_is_refused(wanted, field):
    fleet = Fleet.of([slice_of(["a"])], CLASSES, features=Features())
    for mode in ("best", "strict"):
        outcome = allocate(fleet, Usage(fleet), node(), [claim(wanted)], mode=mode)
        assert isinstance(outcome, Invalid)
        assert outcome.path.endswith(field)


def test_an_observer_sees_every_device_that_is_tried():
    class Seen:
        def __init__(self):
            self.devices = []

        def tried(self, request, driver, pool, device, kept):
            self.devices.append((request, device, kept))

    seen = Seen()
    devices = [near("a", 0, "x"), near("b", 0, "y"), near("c", 0, "y")]
    constraints = [{"requests": ["r", "s"], "matchAttribute": "resource.kubernetes.io/pcieRoot"}]
    wanted = claim(exactly("r"), exactly("s"), constraints=constraints)
    assert chosen([slice_of(devices)], wanted, observer=seen) == [["b", "c"]]
    assert seen.devices[-2:] == [("r", "b", True), ("s", "c", True)]


def test_share_ids_come_from_the_function_passed_in():
    big = {"name": "a", "allowMultipleAllocations": True}
    fleet = Fleet.of([slice_of([big])], CLASSES)
    outcome = allocate(fleet, Usage(fleet), node(), [claim(exactly())], new_share_id=lambda *_: "mine")
    assert outcome.results[0].devices.results[0].share_id == "mine"
    again = [allocate(fleet, Usage(fleet), node(), [claim(exactly())]) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("first", ["gpu-0", "gpu-1"])
def test_equal_partitions_of_unequal_devices_are_both_tried(first):
    """Taking the part of the device that has a whole as well rules that whole out; the twin does not."""

    def part(name, kind_, gpu, size):
        draws = [{"counterSet": gpu, "counters": {"units": {"value": str(size)}}}]
        return {"name": name, "attributes": {"kind": {"string": kind_}}, "consumesCounters": draws}

    second = {"gpu-0": "gpu-1", "gpu-1": "gpu-0"}[first]
    devices = [part("a", "part", "gpu-0", 1), part("b", "part", "gpu-1", 1), part("whole", "whole", first, 4)]
    sets = [{"name": name, "counters": {"units": {"value": "4"}}} for name in (first, second)]
    slices = [
        slice_of(devices, count=2, name="devices"),
        slice_of([], count=2, name="sets", sharedCounters=sets),
    ]
    wanted = claim(exactly("x", kind("part")), exactly("y", kind("whole")))
    for objective in (DEFAULT, NO_PREFERENCE, CONTRARY):
        (devices_,) = chosen(slices, wanted, objective=objective)
        assert sorted(devices_) == sorted(["whole", "b" if first == "gpu-0" else "a"])


@pytest.mark.parametrize("amounts", [("1", "2"), ("2", "1")])
def test_equal_partitions_of_devices_with_unequal_counters_are_both_tried(amounts):
    devices = []
    for gpu in ("gpu-0", "gpu-1"):
        draws = [{"counterSet": gpu, "counters": {"units": {"value": "1"}}}]
        for kind_ in ("x", "y"):
            devices.append(
                {
                    "name": f"{gpu}-{kind_}",
                    "attributes": {"kind": {"string": kind_}},
                    "consumesCounters": draws,
                }
            )
    sets = [
        {"name": name, "counters": {"units": {"value": amount}}}
        for name, amount in zip(("gpu-0", "gpu-1"), amounts, strict=True)
    ]
    slices = [
        slice_of(devices, count=2, name="devices"),
        slice_of([], count=2, name="sets", sharedCounters=sets),
    ]
    wanted = claim(exactly("x", kind("x")), exactly("y", kind("y"), count=2))
    for objective in (DEFAULT, NO_PREFERENCE, CONTRARY):
        (devices_,) = chosen(slices, wanted, objective=objective)
        assert devices_[0] == ("gpu-1-x" if amounts == ("1", "2") else "gpu-0-x")


def test_what_a_constraint_has_settled_on_distinguishes_equal_sets_of_chosen_devices():
    """x and y can swap their devices; only one way round leaves z a device that agrees with x."""
    devices = [
        {"name": name, "attributes": {"kind": {"string": kind_}, "group": {"int": group}}}
        for name, kind_, group in [("a", "early", 1), ("b", "early", 2), ("c", "late", 2)]
    ]
    constraint = {"requests": ["x", "z"], "matchAttribute": f"{DRIVER}/group"}
    early, late = kind("early"), kind("late")
    wanted = claim(exactly("x", early), exactly("y", early), exactly("z", late), constraints=[constraint])
    assert chosen([slice_of(devices)], wanted) == [["b", "a", "c"]]
