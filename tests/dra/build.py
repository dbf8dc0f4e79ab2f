"""Short ways to write slices, classes, claims and allocations in tests."""

from collections.abc import Iterable, Mapping
from typing import Any

from aliquot.model.core import Node
from aliquot.model.kinds import convert
from aliquot.model.resource import (
    AllocationResult,
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceSlice,
)

DRIVER = "gpu.example.com"


def node(name: str = "node-1", **labels: str) -> Node:
    return convert({"kind": "Node", "metadata": {"name": name, "labels": labels}}, Node)


def slice_of(
    devices: Iterable[Mapping[str, Any] | str] = (),
    *,
    node: str | None = "node-1",
    pool: str | None = None,
    driver: str = DRIVER,
    name: str | None = None,
    generation: int = 1,
    count: int = 1,
    **spec: Any,
) -> ResourceSlice:
    """A slice; the pool is named after the node unless told otherwise."""
    pool = pool or node or "pool"
    place = (
        {}
        if node is None or spec.keys() & {"allNodes", "nodeSelector", "sharedCounters"}
        else {"nodeName": node}
    )
    document = {
        "kind": "ResourceSlice",
        "metadata": {"name": name or f"{pool}-{driver}"},
        "spec": {
            "driver": driver,
            "pool": {"name": pool, "generation": generation, "resourceSliceCount": count},
            "devices": [{"name": each} if isinstance(each, str) else each for each in devices],
            **place,
            **spec,
        },
    }
    return convert(document, ResourceSlice)


def device_class(name: str = "gpu", *selectors: str, **spec: Any) -> DeviceClass:
    chosen = [{"cel": {"expression": each}} for each in selectors]
    return convert(
        {"kind": "DeviceClass", "metadata": {"name": name}, "spec": {"selectors": chosen, **spec}},
        DeviceClass,
    )


def exactly(name: str = "req", *selectors: str, cls: str = "gpu", **fields: Any) -> dict[str, Any]:
    """A request for exactly what the fields say."""
    return {"name": name, "exactly": alternative(None, *selectors, cls=cls, **fields)}


def alternative(name: str | None, *selectors: str, cls: str = "gpu", **fields: Any) -> dict[str, Any]:
    chosen = [{"cel": {"expression": each}} for each in selectors]
    named = {} if name is None else {"name": name}
    return {**named, "deviceClassName": cls, "selectors": chosen, **fields}


def claim(*requests: Mapping[str, Any], name: str = "claim", uid: str = "", **devices: Any) -> ResourceClaim:
    document = {
        "kind": "ResourceClaim",
        "metadata": {"namespace": "default", "name": name, "uid": uid or f"uid-{name}"},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }
    return convert(document, ResourceClaim)


def allocation(*results: Mapping[str, Any] | str, pool: str = "node-1", **fields: Any) -> AllocationResult:
    """Results given as device names of `pool` or as fields of a result."""
    written = [
        {
            "request": "req",
            "driver": DRIVER,
            "pool": pool,
            **({"device": each} if isinstance(each, str) else each),
        }
        for each in results
    ]
    return convert({"devices": {"results": written}, **fields}, AllocationResult)


def allocated(name: str, *results: Mapping[str, Any] | str, pool: str = "node-1") -> ResourceClaim:
    """A claim that holds these devices."""
    document = {
        "kind": "ResourceClaim",
        "metadata": {"namespace": "default", "name": name},
        "status": {"allocation": {"devices": {"results": []}}},
    }
    held = convert(document, ResourceClaim)
    return type(held)(
        metadata=held.metadata, status=type(held.status)(allocation=allocation(*results, pool=pool))
    )


def taint_rule(effect: str = "NoSchedule", **selector: str) -> DeviceTaintRule:
    spec = {"deviceSelector": selector, "taint": {"key": "broken", "effect": effect}}
    return convert({"kind": "DeviceTaintRule", "metadata": {"name": "rule"}, "spec": spec}, DeviceTaintRule)


def partitioned(
    gpus: int = 2, *, node: str = "node-1", memory: int = 4, count: int = 2
) -> tuple[ResourceSlice, ResourceSlice]:
    """A node of GPUs that are usable whole or in halves and quarters of their memory."""
    sets = [{"name": f"gpu-{gpu}", "counters": {"memory": {"value": str(memory)}}} for gpu in range(gpus)]
    devices = []
    for gpu in range(gpus):
        sizes = [("whole", 4, 1), ("half", 2, 2), ("quarter", 1, 4)]
        for kind, size, copies in sizes:
            for copy in range(copies):
                devices.append(
                    {
                        "name": f"gpu-{gpu}-{kind}-{copy}",
                        "attributes": {"kind": {"string": kind}, "gpu": {"int": gpu}},
                        "consumesCounters": [
                            {"counterSet": f"gpu-{gpu}", "counters": {"memory": {"value": str(size)}}}
                        ],
                    }
                )
    return (
        slice_of(node=node, name=f"{node}-counters", count=count, sharedCounters=sets),
        slice_of(devices, node=node, name=f"{node}-devices", count=count),
    )
