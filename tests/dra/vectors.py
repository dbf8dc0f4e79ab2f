"""Reading the vector format of the structured allocator, and running a case.

A case is a JSON object with `features`, `node`, `claimsToAllocate`, `deviceClasses`, `resourceSlices` and
`allocatedState`; the result has `name`, `outcome`, `results`, `error`.

As a script, vectors.py FILES... prints one result per line.
"""

import json
import sys
from pathlib import Path
from typing import Any

from aliquot.dra.allocator import Mode, allocate
from aliquot.dra.features import Features
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated, Invalid, Unallocatable
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.kinds import convert, plain
from aliquot.model.resource import DeviceClass, ResourceClaim, ResourceSlice


def features_of(case: dict[str, Any]) -> Features:
    switches = case["features"]
    return Features(
        admin_access=switches["adminAccess"],
        binding_conditions=switches["deviceBindingAndStatus"],
        consumable_capacity=switches["consumableCapacity"],
        device_taints=switches["deviceTaints"],
        list_attributes=switches["listTypeAttributes"],
        partitionable_devices=switches["partitionableDevices"],
        prioritized_list=switches["prioritizedList"],
    )


def holders_of(state: dict[str, Any]) -> list[ResourceClaim]:
    """Claims that hold what the allocated state says."""
    results = [dict(entry) for entry in state["allocatedDevices"]]
    results += [dict(entry) for entry in state["allocatedSharedDeviceIDs"]]
    results += [{**entry, "shareID": "aggregated"} for entry in state["aggregatedCapacity"]]
    return [
        convert(
            {
                "kind": "ResourceClaim",
                "metadata": {"name": f"holder-{number}"},
                "status": {"allocation": {"devices": {"results": [{"request": "held", **result}]}}},
            },
            ResourceClaim,
        )
        for number, result in enumerate(results)
    ]


def inputs(case: dict[str, Any]) -> tuple[Fleet, Usage, Node, list[ResourceClaim]]:
    fleet = Fleet.of(
        [convert(each, ResourceSlice) for each in case["resourceSlices"] or ()],
        [convert(each, DeviceClass) for each in case["deviceClasses"] or ()],
        features=features_of(case),
    )
    usage = Usage.of(fleet, holders_of(case["allocatedState"]))
    claims = [convert(each, ResourceClaim) for each in case["claimsToAllocate"] or ()]
    return fleet, usage, convert(case["node"], Node), claims


def run(case: dict[str, Any], mode: Mode) -> dict[str, Any]:
    fleet, usage, node, claims = inputs(case)
    outcome = allocate(fleet, usage, node, claims, mode=mode)
    match outcome:
        case Allocated(results=results):
            return {"name": case["name"], "outcome": "allocated", "results": plain(results)}
        case Unallocatable():
            return {"name": case["name"], "outcome": "unallocatable"}
        case Invalid(problem=problem):
            return {"name": case["name"], "outcome": "error", "error": problem}
    return {"name": case["name"], "outcome": "budget"}


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(json.dumps(run(json.loads(Path(file).read_text()), "strict")))  # noqa: T201
