"""What the checker objects to, case by case."""

import pytest
from tests.dra.build import allocated, partitioned, slice_of

from aliquot.dra.checker import check_cluster
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
