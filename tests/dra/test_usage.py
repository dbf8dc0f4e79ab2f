"""Taking, releasing and undoing, against counting from scratch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dra.build import DRIVER, allocated, allocation, node, partitioned, slice_of

from aliquot.dra.fleet import Fleet
from aliquot.dra.usage import Usage

SHAREABLE = {"name": "big", "allowMultipleAllocations": True, "capacity": {"memory": {"value": "10"}}}
SLICES = (
    *partitioned(2),
    slice_of([SHAREABLE, "small"], node="node-2"),
)


def share(amount: int, number: int) -> dict:
    return {
        "device": "big",
        "pool": "node-2",
        "shareID": f"share-{number}",
        "consumedCapacity": {"memory": str(amount)},
    }


HOLDINGS = [
    allocation("gpu-0-whole-0"),
    allocation("gpu-0-half-0", "gpu-1-quarter-3"),
    allocation("gpu-1-quarter-0", {"device": "gpu-1-quarter-1", "adminAccess": True}),
    allocation({"device": "small", "pool": "node-2"}, share(3, 1)),
    allocation(share(4, 2), share(0, 3)),
    allocation(share(-4, 4)),
    allocation({"device": "gone", "pool": "elsewhere"}),
    allocation(),
]


def key(number: int) -> tuple[str, str]:
    return ("default", f"claim-{number}")


def only(usage: Usage, name: str = "node-1"):
    return usage.of_pool(usage.fleet.pools[DRIVER, name])


def test_a_partition_draws_on_its_counters_and_blocks_what_no_longer_fits():
    fleet = Fleet.of(SLICES, ())
    usage = Usage.of(fleet, [allocated("a", "gpu-0-half-0")])
    pool = fleet.pools[DRIVER, "node-1"]
    blocked = {pool.devices[i].name for i in range(len(pool.devices)) if only(usage).blocked >> i & 1}
    assert blocked == {"gpu-0-whole-0"}
    usage.take(key(1), allocation("gpu-0-half-1"))
    blocked = {pool.devices[i].name for i in range(len(pool.devices)) if only(usage).blocked >> i & 1}
    assert blocked == {name for name in pool.names if name.startswith("gpu-0")}


def test_admin_access_takes_nothing():
    usage = Usage(Fleet.of(SLICES, ()))
    usage.take(key(0), allocation({"device": "gpu-0-whole-0", "adminAccess": True}))
    assert only(usage).taken == 0
    assert only(usage).remaining == list(only(usage).pool.counters)


def test_shares_add_up():
    usage = Usage(Fleet.of(SLICES, ()))
    usage.take(key(0), allocation(share(3, 1)))
    usage.take(key(1), allocation(share(4, 2)))
    pool = only(usage, "node-2")
    assert {i: {name: n // 10**9 for name, n in each.items()} for i, each in pool.consumed.items()} == {
        0: {"memory": 7}
    }
    assert (pool.taken, pool.shared) == (0, 1)


def test_a_claim_cannot_hold_two_allocations():
    usage = Usage(Fleet.of(SLICES, ()))
    usage.take(key(0), allocation())
    with pytest.raises(ValueError, match="default/claim-0"):
        usage.take(key(0), allocation())


steps = st.lists(st.tuples(st.sampled_from(["toggle", "mark", "undo"]), st.integers(0, len(HOLDINGS) - 1)))


@given(steps)
def test_undo_restores_exactly(actions):
    usage = Usage(Fleet.of(SLICES, ()))
    saved = [(usage.mark(), usage.state())]
    for action, number in actions:
        if action == "toggle" and key(number) in usage.holdings:
            usage.release(key(number))
        elif action == "toggle":
            usage.take(key(number), HOLDINGS[number])
        elif action == "mark":
            saved.append((usage.mark(), usage.state()))
        elif len(saved) > 1:
            mark, state = saved.pop()
            usage.undo(mark)
            assert usage.state() == state
    held = {number: HOLDINGS[number] for number in range(len(HOLDINGS)) if key(number) in usage.holdings}
    fresh = Usage(usage.fleet)
    for number, allocation_ in held.items():
        fresh.take(key(number), allocation_)
    assert fresh.state() == usage.state()


numbers = st.sets(st.integers(0, len(HOLDINGS) - 1))
slices = st.sets(st.sampled_from(range(len(SLICES)))).map(lambda chosen: [SLICES[i] for i in sorted(chosen)])


@settings(max_examples=200)
@given(numbers, numbers, slices, slices)
def test_a_usage_built_from_an_earlier_one_equals_a_fresh_one(before, after, slices_before, slices_after):
    claims = [_claim(number) for number in range(len(HOLDINGS))]
    old_fleet = Fleet.of(slices_before, ())
    old = Usage.of(old_fleet, [claims[n] for n in sorted(before)])
    untouched = old.state()
    new_fleet = Fleet.of(slices_after, (), previous=old_fleet)
    new = Usage.of(new_fleet, [claims[n] for n in sorted(after)], previous=old)
    assert new.state() == Usage.of(new_fleet, [claims[n] for n in sorted(after)]).state()
    for key_ in list(new.holdings):
        new.release(key_)
    assert new.state() == Usage(new_fleet).state()
    assert old.state() == untouched


def _claim(number: int):
    empty = allocated(f"claim-{number}")
    return type(empty)(metadata=empty.metadata, status=type(empty.status)(allocation=HOLDINGS[number]))


def test_reach_of_the_test_fleet():
    fleet = Fleet.of(SLICES, ())
    assert [pool.name for pool, _ in fleet.reach(node("node-2"))] == ["node-2"]


def test_a_device_of_a_pool_with_wrong_counters_can_be_held():
    # The driver republished the pool without the counter set while claims hold its devices.
    draws = [{"counterSet": "gone", "counters": {"m": {"value": "1"}}}]
    wrong = slice_of([{"name": "a"}, {"name": "b", "consumesCounters": draws}])
    sets = [{"name": "other", "counters": {"m": {"value": "1"}}}]
    fleet = Fleet.of([slice_of(count=2, name="sets", sharedCounters=sets), wrong], ())
    pool = Fleet.of([wrong], ()).pools[DRIVER, "node-1"]
    assert "gone" in pool.problem
    assert not pool.drawing
    for each in (fleet, Fleet.of([wrong], ())):
        usage = Usage.of(each, [allocated("holder", "a", "b")])
        usage.release(("default", "holder"))
        assert usage.state() == Usage(each).state()
