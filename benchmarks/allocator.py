"""The allocator alone: claims allocated one after another on fleets of nodes of eight GPUs.

A node's GPUs hang on two PCIe roots, four on each. Nodes are looked for among all of the fleet's, with the
candidates' index; kube-scheduler's own search looks at every node in turn.
"""

import gc
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from aliquot.dra.allocator import Mode, allocate
from aliquot.dra.candidates import NodeIndex
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.kinds import convert
from aliquot.model.resource import DeviceClass, ResourceClaim, ResourceSlice

DRIVER = "gpu.example.com"
GPUS = 8
PER_ROOT = 4
PCIE_ROOT = "resource.kubernetes.io/pcieRoot"

SIZES = (1_000, 5_000, 50_000)
MOST = 40_000
"""Claims allocated on a fleet that would take longer to fill."""

ONE: Mapping[str, Any] = {
    "requests": [
        {"name": "gpu", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}}
    ]
}
FOUR: Mapping[str, Any] = {
    "requests": [
        {"name": "gpu", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 4}}
    ],
    "constraints": [{"requests": ["gpu"], "matchAttribute": PCIE_ROOT}],
}
SHAPES = (("1 GPU", 1, ONE), ("4 GPUs, one PCIe root", 4, FOUR))


class Result(msgspec.Struct, frozen=True):
    """The median over the runs. seconds: of allocating; prepared: of building fleet, usage and index."""

    claims: int
    seconds: float
    prepared: float

    @property
    def rate(self) -> float:
        return self.claims / self.seconds


def slices(count: int) -> list[ResourceSlice]:
    """One slice for each node, with the attributes that a GPU driver publishes."""
    return [convert(_slice(f"node-{number:06}"), ResourceSlice) for number in range(count)]


def _slice(node: str) -> dict[str, Any]:
    return {
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node}-{DRIVER}"},
        "spec": {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [
                {
                    "name": f"gpu-{number}",
                    "attributes": {
                        "type": {"string": "gpu"},
                        "productName": {"string": "NVIDIA H100 80GB HBM3"},
                        "architecture": {"string": "Hopper"},
                        "driverVersion": {"version": "580.82.7"},
                        "uuid": {"string": f"GPU-{node}-{number}"},
                        PCIE_ROOT: {"string": f"pci0000:{number // PER_ROOT:02x}"},
                    },
                    "capacity": {"memory": {"value": "81559Mi"}},
                }
                for number in range(GPUS)
            ],
        },
    }


def device_class() -> DeviceClass:
    expression = f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"
    document = {
        "kind": "DeviceClass",
        "metadata": {"name": "gpu"},
        "spec": {"selectors": [{"cel": {"expression": expression}}]},
    }
    found: DeviceClass = convert(document, DeviceClass)
    return found


def claim(number: int, devices: Mapping[str, Any]) -> ResourceClaim:
    name = f"claim-{number:06}"
    document = {
        "kind": "ResourceClaim",
        "metadata": {"namespace": "bench", "name": name, "uid": name},
        "spec": {"devices": devices},
    }
    found: ResourceClaim = convert(document, ResourceClaim)
    return found


def fill(index: NodeIndex, claims: list[ResourceClaim], mode: Mode) -> int:
    """Allocate the claims one after another, each on the first node that serves it; how many were served."""
    fleet, usage = index.fleet, index.usage
    served = 0
    for each in claims:
        wanted = (each,)
        for number in index.candidates(wanted):
            outcome = allocate(fleet, usage, index.nodes[number], wanted, mode=mode, explain=False)
            if isinstance(outcome, Allocated):
                usage.take(each.key, outcome.results[0])
                served += 1
                break
    return served


def measure(count: int, size: int, devices: Mapping[str, Any], mode: Mode, runs: int) -> Result:
    """Fill a fresh fleet of `count` nodes, or serve the first MOST claims of a larger one."""
    nodes = [
        convert({"kind": "Node", "metadata": {"name": f"node-{number:06}"}}, Node) for number in range(count)
    ]
    published, classes = slices(count), [device_class()]
    claims = [claim(number, devices) for number in range(min(MOST, count * GPUS // size))]
    if count <= MOST // GPUS:
        # One more than fits, so that filling up is complete and what is full is seen to be full.
        claims.append(claim(len(claims), devices))
    taken: list[float] = []
    prepared: list[float] = []
    served = 0
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        fleet = Fleet.of(published, classes)
        index = NodeIndex(fleet, Usage.of(fleet, ()), nodes)
        # Selectors are evaluated and devices counted when a kind of claim is first seen.
        next(index.candidates(claims[:1]))
        ready = time.perf_counter()
        served = fill(index, claims, mode)
        taken.append(time.perf_counter() - ready)
        prepared.append(ready - start)
    return Result(served, statistics.median(taken), statistics.median(prepared))


def peak_mib() -> int:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def rows(sizes: Sequence[int], runs: int, modes: tuple[Mode, ...]) -> Iterator[tuple[str, Result]]:
    """Every measurement with its name, smallest fleets first."""
    for count in sizes:
        for text, size, devices in SHAPES:
            for mode in modes:
                result = measure(count, size, devices, mode, runs)
                yield f"{count:,} nodes x {GPUS}, {text}, {mode}", result
