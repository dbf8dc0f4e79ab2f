"""What slices add up to: completeness, generations, validity, reach, taints."""

import pytest
from tests.dra.build import DRIVER, node, partitioned, slice_of, taint_rule

from aliquot.dra.features import Features
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import members, set_of


def fleet_of(*slices, **options):
    return Fleet.of(slices, (), **options)


def only_pool(*slices, **options):
    (pool,) = fleet_of(*slices, **options).pools.values()
    return pool


def test_a_set_of_devices_lists_its_members_ascending():
    assert list(members(set_of([5, 0, 64, 5]))) == [0, 5, 64]


def test_devices_are_numbered_by_slice_name_and_then_as_listed():
    pool = only_pool(slice_of(["b", "a"], name="slice-2", count=2), slice_of(["z"], name="slice-10", count=2))
    assert [device.name for device in pool.devices] == ["z", "b", "a"]
    assert [pool.slice_of(index).name for index in range(3)] == ["slice-10", "slice-2", "slice-2"]


@pytest.mark.parametrize(
    ("generations", "announced", "complete"),
    [([1], 1, True), ([1], 2, False), ([1, 1], 1, False), ([1, 2], 1, True), ([1, 1, 2], 2, False)],
)
def test_a_pool_is_complete_with_the_announced_slices_of_its_newest_generation(
    generations, announced, complete
):
    slices = [
        slice_of([f"device-{i}"], name=f"slice-{i}", generation=generation, count=announced)
        for i, generation in enumerate(generations)
    ]
    pool = only_pool(*slices)
    assert pool.complete is complete
    assert pool.generation == max(generations)
    assert bool(pool.problem) is not complete


def test_an_incomplete_pool_is_seen_by_its_nodes_but_gives_no_devices():
    fleet = fleet_of(slice_of(["a"], count=2))
    ((pool, devices),) = fleet.reach(node())
    assert (pool.complete, devices) == (False, 0)


@pytest.mark.parametrize(
    "extra",
    [
        {"name": "gpu-0-whole-0"},
        {"name": "x", "consumesCounters": [{"counterSet": "gpu-9", "counters": {"memory": {"value": "1"}}}]},
        {"name": "x", "consumesCounters": [{"counterSet": "gpu-0", "counters": {"cores": {"value": "1"}}}]},
    ],
)
def test_a_pool_with_contradictions_is_invalid(extra):
    pool = only_pool(*partitioned(count=3), slice_of([extra], name="third", count=3))
    assert pool.complete
    assert pool.problem


def test_devices_reach_the_nodes_that_the_slice_or_the_device_says():
    zone = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
    fleet = fleet_of(
        slice_of(["local"]),
        slice_of(["zonal"], pool="zonal", nodeSelector=zone),
        slice_of(["global"], pool="global", allNodes=True),
        slice_of(
            [
                {"name": "mine", "nodeName": "node-1"},
                {"name": "theirs", "nodeName": "node-2"},
                {"name": "all", "allNodes": True},
            ],
            node=None,
            pool="mixed",
            perDeviceNodeSelection=True,
        ),
    )

    def seen(name, **labels):
        return {
            pool.devices[index].name
            for pool, devices in fleet.reach(node(name, **labels))
            for index in members(devices)
        }

    assert seen("node-1", zone="a") == {"local", "zonal", "global", "mine", "all"}
    assert seen("node-2") == {"global", "theirs", "all"}
    assert fleet.nodes_with() == {"node-1", "node-2"}
    assert fleet.drivers == {DRIVER}


def test_without_partitionable_devices_what_needs_them_is_left_out():
    features = Features.of((1, 34))
    fleet = fleet_of(*partitioned(), features=features)
    ((pool, devices),) = fleet.reach(node())
    assert pool.complete
    assert devices == 0


def test_taint_rules_add_to_the_taints_of_slices():
    noted = {
        "name": "b",
        "taints": [{"key": "noted", "effect": "None"}, {"key": "sick", "effect": "NoExecute"}],
    }
    slices = [slice_of(["a", noted])]
    fleet = fleet_of(*slices, taint_rules=[taint_rule(device="b"), taint_rule("None", device="a")])
    ((pool, _),) = fleet.reach(node())
    assert {index: [taint.key for taint in taints] for index, taints in fleet.taints.of(pool).items()} == {
        1: ["sick", "broken"]
    }
    everything = fleet_of(*slices, taint_rules=[taint_rule()])
    assert set(everything.taints.of(everything.pools[pool.key])) == {0, 1}


def test_a_changed_fleet_keeps_the_pools_that_did_not_change():
    stay, go = slice_of(["a"]), slice_of(["b"], node="node-2")
    first = fleet_of(stay, go)
    second = Fleet.of([stay, slice_of(["c"], node="node-3")], (), previous=first)
    assert second.pools[stay.spec.driver, "node-1"] is first.pools[stay.spec.driver, "node-1"]
    assert second.nodes_with() == {"node-1", "node-3"}
    assert second.reach(node("node-2")) == ()
    fresh = fleet_of(*second.slices)
    assert {key: pool.names for key, pool in fresh.pools.items()} == {
        key: pool.names for key, pool in second.pools.items()
    }
    assert Fleet.of(second.slices, (), previous=second) is second
