"""The allocator alone: claims allocated one after another on fleets of nodes of eight GPUs.

A node's GPUs hang on two PCIe roots, four on each; claims for four want them on one. Fleets are empty at
the start, or nine in ten of their nodes are full. Nodes are looked for among all of the fleet's with the
candidates' index or, "in turn", as kube-scheduler does: a claim is allocated on one node after the other
until as many have served it as it scores by default, and the first of these is taken.
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

MOST_IN_TURN = 20
"""Claims allocated where every node is looked at."""

SMALL = 5_000
"""Nodes of the largest fleet that is also measured nearly full and in turn."""

FULL_NODES = 9
"""Of ten nodes, how many are full in a fleet that is 90 % full."""

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
SHAPES = (("1 GPU", 1, ONE), ("4 GPUs", 4, FOUR))


class Result(msgspec.Struct, frozen=True):
    """The median over the runs. seconds: of allocating; prepared: of building fleet, usage and index.

    Both are processor time, so that other work on the machine weighs less.
    """

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


def full(count: int) -> list[ResourceClaim]:
    """Claims that hold all GPUs of nine in ten nodes, one claim for each node."""
    return [
        convert(_holder(f"node-{number:06}"), ResourceClaim)
        for number in range(count)
        if number % 10 < FULL_NODES
    ]


def _holder(node: str) -> dict[str, Any]:
    results = [
        {"request": "gpu", "driver": DRIVER, "pool": node, "device": f"gpu-{number}"}
        for number in range(GPUS)
    ]
    return {
        "kind": "ResourceClaim",
        "metadata": {"namespace": "bench", "name": f"held-{node}", "uid": f"held-{node}"},
        "status": {"allocation": {"devices": {"results": results}}},
    }


def feasible_nodes(count: int) -> int:
    """How many nodes kube-scheduler looks for by default before it chooses among them.

    Half of them less one percent per 125 nodes, at least 5 % and at least 100 (kube-scheduler 1.36,
    numFeasibleNodesToFind).
    """
    if count < 100:
        return count
    return max(100, count * max(50 - count // 125, 5) // 100)


def fill(index: NodeIndex, claims: Sequence[ResourceClaim], mode: Mode) -> int:
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


def fill_in_turn(index: NodeIndex, claims: Sequence[ResourceClaim], mode: Mode) -> int:
    """The same as kube-scheduler goes about it, each claim starting at the node after the last one's."""
    fleet, usage, nodes = index.fleet, index.usage, index.nodes
    enough = feasible_nodes(len(nodes))
    served = start = 0
    for each in claims:
        wanted = (each,)
        found: list[Allocated] = []
        looked_at = 0
        while looked_at < len(nodes) and len(found) < enough:
            node = nodes[(start + looked_at) % len(nodes)]
            outcome = allocate(fleet, usage, node, wanted, mode=mode, explain=False)
            looked_at += 1
            if isinstance(outcome, Allocated):
                found.append(outcome)
        start += looked_at
        if found:
            usage.take(each.key, found[0].results[0])
            served += 1
    return served


class Inputs:
    """The objects of fleets of `count` nodes, the same for every measurement."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.nodes = [
            convert({"kind": "Node", "metadata": {"name": f"node-{number:06}"}}, Node)
            for number in range(count)
        ]
        self.slices = slices(count)
        self.classes = [device_class()]

    def claims(self, size: int, devices: Mapping[str, Any], held: int) -> list[ResourceClaim]:
        """As many as fit beside what is held, but MOST at the most."""
        fitting = (self.count * GPUS - held) // size
        # One more than fits, so that filling up is complete and what is full is seen to be full.
        return [claim(number, devices) for number in range(min(MOST, fitting + 1))]


def measure(
    inputs: Inputs,
    claims: Sequence[ResourceClaim],
    mode: Mode,
    runs: int,
    *,
    held: Sequence[ResourceClaim] = (),
    in_turn: bool = False,
) -> Result:
    """Serve the claims on a fresh fleet on which others hold devices already."""
    taken: list[float] = []
    prepared: list[float] = []
    served = 0
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        fleet = Fleet.of(inputs.slices, inputs.classes)
        index = NodeIndex(fleet, Usage.of(fleet, held), inputs.nodes)
        # Selectors are evaluated and devices counted when a kind of claim is first seen.
        next(index.candidates(claims[:1]))
        ready = time.process_time()
        served = (fill_in_turn if in_turn else fill)(index, claims, mode)
        taken.append(time.process_time() - ready)
        prepared.append(ready - start)
    return Result(served, statistics.median(taken), statistics.median(prepared))


def peak_mib() -> int:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def rows(sizes: Sequence[int], runs: int, modes: tuple[Mode, ...]) -> Iterator[tuple[str, Result]]:
    """Every measurement with its name, smallest fleets first."""
    for count in sizes:
        inputs = Inputs(count)
        for text, size, devices in SHAPES:
            for held in ((), full(count)) if count <= SMALL else ((),):
                claims = inputs.claims(size, devices, len(held) * GPUS)
                name = f"{count:,} x {GPUS}, {text}{', 90 % full' if held else ''}"
                for mode in modes:
                    yield f"{name}, {mode}", measure(inputs, claims, mode, runs, held=held)
                if count <= SMALL:
                    few = claims[:MOST_IN_TURN]
                    for mode in modes:
                        result = measure(inputs, few, mode, runs, held=held, in_turn=True)
                        yield f"{name}, {mode} in turn", result
