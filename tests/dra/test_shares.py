"""Shares of physical devices."""

from fractions import Fraction

import pytest
from tests.dra.build import DRIVER, allocation, slice_of

from aliquot.cel.quantity import Quantity
from aliquot.dra.fleet import Fleet
from aliquot.dra.shares import physical_devices, share_of_device, share_of_result

GPU = {"memory": {"value": "40Gi"}, "slices": {"value": "7"}}
SETS = [
    {
        "name": "gpu-0",
        "counters": {"memory": {"value": "40Gi"}, "slices": {"value": "7"}, "none": {"value": "0"}},
    },
    {"name": "gpu-1", "counters": {"memory": {"value": "40Gi"}, "slices": {"value": "7"}}},
    {
        "name": "gpu-2",
        "counters": {f"memory-slice-{i}": {"value": "1"} for i in range(8)} | {"jpeg": {"value": "1"}},
    },
]


def draws(number, **amounts):
    counters = {name: {"value": str(amount)} for name, amount in amounts.items()}
    return {"counterSet": f"gpu-{number}", "counters": counters}


DEVICES = [
    {"name": "mig", "consumesCounters": [draws(0, memory="10Gi", slices=1)]},
    {"name": "compute", "consumesCounters": [draws(0, memory="5Gi", slices=3)]},
    {"name": "two-halves", "consumesCounters": [draws(0, memory="20Gi"), draws(1, memory="20Gi")]},
    {
        "name": "dynamic-mig",
        "consumesCounters": [
            {
                "counterSet": "gpu-2",
                "counters": {n: {"value": "1"} for n in ("memory-slice-4", "memory-slice-5", "jpeg")},
            }
        ],
    },
    {"name": "static-mig", "capacity": {"memorySlice3": {"value": "1"}, "memory": {"value": "4864Mi"}}},
    {"name": "nothing", "consumesCounters": [draws(0, none="0")]},
    {"name": "plain", "capacity": {"memory": {"value": "80Gi"}}},
    {
        "name": "shared",
        "allowMultipleAllocations": True,
        "capacity": {"memory": {"value": "80Gi"}, "cores": {"value": "100"}, "empty": {"value": "0"}},
    },
]
FLEET = Fleet.of([slice_of(DEVICES, count=2), slice_of([], count=2, name="sets", sharedCounters=SETS)], ())
POOL = FLEET.pools[DRIVER, "node-1"]


@pytest.mark.parametrize(
    ("name", "consumed", "share", "parts"),
    [
        ("mig", None, Fraction(1, 4), ("gpu-0",)),
        ("compute", None, Fraction(3, 7), ("gpu-0",)),
        ("two-halves", None, Fraction(1), ("gpu-0", "gpu-1")),
        ("dynamic-mig", None, Fraction(1, 4), ("gpu-2",)),
        ("static-mig", None, Fraction(1, 8), ("static-mig",)),
        ("nothing", None, Fraction(1), ("gpu-0",)),
        ("plain", None, Fraction(1), ("plain",)),
        ("shared", {"memory": "20Gi", "cores": "10", "empty": "0"}, Fraction(1, 4), ("shared",)),
        ("shared", {"memory": "20Gi", "cores": "50"}, Fraction(1, 2), ("shared",)),
        ("shared", {}, Fraction(1), ("shared",)),
    ],
)
def test_a_device_is_the_largest_part_that_it_takes_of_anything(name, consumed, share, parts):
    amounts = None if consumed is None else {key: Quantity.parse(text) for key, text in consumed.items()}
    assert share_of_device(POOL, POOL.names[name], amounts) == share
    assert physical_devices(POOL, POOL.names[name]) == parts


@pytest.mark.parametrize(
    ("result", "share"),
    [
        ("mig", Fraction(1, 4)),
        ({"device": "mig", "adminAccess": True}, Fraction(0)),
        ({"device": "shared", "shareID": "s", "consumedCapacity": {"memory": "40Gi"}}, Fraction(1, 2)),
        ({"device": "gone", "pool": "gone"}, Fraction(1)),
    ],
)
def test_a_result_counts_what_it_takes(result, share):
    (written,) = allocation(result).devices.results
    assert share_of_result(FLEET, written) == share
