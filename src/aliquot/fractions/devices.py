"""What a node's labels and annotations tell of the devices that its device plugin hands out.

Sources: GPU Feature Discovery (nvidia.com/gpu.memory in MiB, nvidia.com/mig.strategy, nvidia.com/gpu.product,
nvidia.com/gpu.sharing-strategy, nvidia.com/gpu.replicas), AMD's node labeller (amd.com/gpu.vram), HAMi's
protocol document (annotation hami.io/node-nvidia-register), KAI-Scheduler (label
node-role.kubernetes.io/mig-enabled; memory rounded down to 100 MiB).
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from aliquot.fractions.requests import WHOLE
from aliquot.fractions.resources import (
    AMD_GPU,
    MIG_PREFIX,
    MPS_SHARING,
    NVIDIA_GPU,
    PRODUCT,
    SHARED_GPU,
    SHARING_LABEL,
    TIME_SLICING,
    WHOLE_DEVICES,
    mig_slices,
    slots,
)
from aliquot.model.core import Node

MEMORY_LABEL = "nvidia.com/gpu.memory"
AMD_MEMORY_LABEL = "amd.com/gpu.vram"
MIG_STRATEGY_LABEL = "nvidia.com/mig.strategy"
MIG_ENABLED_LABEL = "node-role.kubernetes.io/mig-enabled"
HAMI_REGISTER = "hami.io/node-nvidia-register"
HAMI_HANDSHAKE = "hami.io/node-handshake"
"""Starts with "Deleted" once HAMi's scheduler has given up on the node's plugin."""

ENFORCED_LABEL = "aliquot.dev/fractions"
"""Set by an operator who has something on the node that gives parts of devices to pods that ask for them by
annotation, and keeps them apart; the value names it. On a node of HAMi's, or one that shares by MPS, it says
that something turns such requests into what HAMi or the device plugin reads.
"""

HAMI = "HAMi"
MPS = "MPS"

_FIRST = (NVIDIA_GPU, SHARED_GPU, AMD_GPU)
"""Which resource a node's devices go by if it advertises several. One that a plugin renamed stays at 0."""

_MEBIBYTES_STEP = 100
_MOST_PLAUSIBLE = 2**20
_BYTES = 2**20
_GIBIBYTE = 1024
_HUNDREDTHS = 100
_LONGEST_REGISTER = 65_536
_MOST_REGISTERED = 256
_REGISTER_FIELDS = 7
_MOST_SHARERS = 1000
_MOST_DIGITS = 18
_GIGABYTE_DIGITS = 4
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$", re.ASCII)


class Mig(StrEnum):
    """How MIG shows on a node: not at all, as whole GPUs (single) or as resources of their own (mixed)."""

    NONE = ""
    SINGLE = "single"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class NodeDevices:
    """The devices of a node that parts can be taken from, all alike.

    resource: the extended resource they are advertised under, "" if there are none. count: how many devices
    there are to hand out. units: how many units of the resource one device is (replicas of a device that the
    plugin shares); count * units is what a table of free amounts starts from. memory_mib: of each, None if
    the node does not tell. sharers: how many pods at most may share one, None for any number. enforcer: what
    keeps parts apart, None if nothing does. limit: the largest part, in billionths, that it keeps apart.
    grain: the part that a pod gets at least. by_annotation: pods that ask by annotation are given parts, as
    neither HAMi nor a device plugin does by itself. time_sliced: pods take turns without limits on
    device memory. slices: compute slices of a whole GPU. ids: of the devices, where the node tells.
    """

    resource: str = ""
    count: int = 0
    units: int = 1
    memory_mib: int | None = None
    sharers: int | None = None
    enforcer: str | None = None
    limit: int = WHOLE
    grain: int = 0
    by_annotation: bool = False
    time_sliced: bool = False
    mig: Mig = Mig.NONE
    slices: int = 7
    ids: tuple[str, ...] = ()

    @property
    def serves_annotations(self) -> bool:
        """Whether a pod that asks for a part by annotation is given one, and kept to it."""
        return self.enforcer is not None and (self.by_annotation or self.enforcer not in (HAMI, MPS))

    @property
    def capacity(self) -> int:
        """What one device holds, in billionths of a MiB; of a hundredth where its memory is not known."""
        return (self.memory_mib or _HUNDREDTHS) * WHOLE


NONE = NodeDevices()


def node_devices(node: Node) -> NodeDevices:
    """The facts about a node's devices."""
    allocatable = node.status.allocatable
    labels = node.metadata.labels
    mig = _mig(node)
    resource = next((name for name in _FIRST if name in allocatable and allocatable[name].nano), "")
    resource = resource or next((name for name in _FIRST if name in allocatable), "")
    if not resource:
        resource = min((name for name in allocatable if WHOLE_DEVICES.match(name)), default="")
    if not resource and mig is Mig.NONE:
        return NONE
    count = allocatable[resource].value() if resource else 0
    named = labels.get(ENFORCED_LABEL) or None
    registered = _registered(node) if resource == NVIDIA_GPU else ()
    if registered:
        return NodeDevices(
            resource,
            len(registered),
            memory_mib=min(item.memory_mib for item in registered),
            sharers=min(item.sharers for item in registered),
            enforcer=HAMI,
            by_annotation=named is not None,
            mig=mig,
            slices=mig_slices(node),
            ids=_distinct(item.id for item in registered),
        )
    sharing = labels.get(SHARING_LABEL, "")
    units = slots(node, resource)
    by_mps = sharing == MPS_SHARING and (named is None or named.lower() == MPS_SHARING)
    return NodeDevices(
        resource,
        count // units,
        units,
        _memory(node, resource),
        sharers=units if by_mps else None,
        enforcer=MPS if by_mps else named,
        limit=WHOLE // units if by_mps else WHOLE,
        grain=WHOLE // units if by_mps else 0,
        by_annotation=named is not None,
        time_sliced=sharing == TIME_SLICING,
        mig=mig,
        slices=mig_slices(node),
    )


def enforced_by(node: Node) -> str | None:
    """What on the node keeps pods with parts of one device to their parts, by name; None if nothing does.

    HAMi limits memory and compute of containers that ask in its resources; that a node carries the label by
    which HAMi's plugin is started (gpu=on) says nothing before the plugin has registered devices. MPS gives
    each replica an equal part of memory and threads, so it keeps apart parts up to 1/replicas. An operator
    may name something else by the label aliquot.dev/fractions. Time-slicing limits nothing: one pod can take
    all the memory. Whether pods that ask by annotation are served is another question
    (`NodeDevices.serves_annotations`).
    """
    return node_devices(node).enforcer


def device_memory(text: str) -> int | None:
    """MiB of each GPU by the label nvidia.com/gpu.memory, rounded down to 100 MiB; None if it tells nothing.

    Rounding lets a hundredth of a device be whole MiB. A number that would be a TiB or more was written in
    bytes, as some versions of GPU Feature Discovery do (gpu-feature-discovery issue 26).
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        return None
    number = int(text)
    if number >= _MOST_PLAUSIBLE:
        number //= _BYTES
    return number - number % _MEBIBYTES_STEP or None


def _memory(node: Node, resource: str) -> int | None:
    labels = node.metadata.labels
    if resource == AMD_GPU:
        text = labels.get(AMD_MEMORY_LABEL, "")
        return device_memory(str(int(text[:-1]) * _GIBIBYTE)) if _gigabytes(text) else None
    return device_memory(labels.get(MEMORY_LABEL, ""))


def _gigabytes(text: str) -> bool:
    number = text[:-1]
    return text.endswith("G") and number.isascii() and number.isdigit() and len(number) <= _GIGABYTE_DIGITS


def _mig(node: Node) -> Mig:
    """KAI's label decides where it is set; else MIG resources, or a product that names a profile."""
    labels = node.metadata.labels
    strategy = labels.get(MIG_STRATEGY_LABEL, "")
    instances = any(name.startswith(MIG_PREFIX) for name in node.status.allocatable)
    enabled = labels.get(MIG_ENABLED_LABEL)
    if enabled is not None:
        on = enabled.lower() in ("true", "t", "1")
    else:
        on = instances or (strategy == Mig.SINGLE and "-MIG-" in labels.get(PRODUCT, ""))
    if not on:
        return Mig.NONE
    if strategy in (Mig.SINGLE, Mig.MIXED):
        return Mig(strategy)
    return Mig.MIXED if instances else Mig.NONE


class _Registered(NamedTuple):
    """A healthy device that HAMi registered. sharers: how many pods may have a part of it."""

    id: str
    memory_mib: int
    sharers: int


def _distinct(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids, if they tell the devices apart and can stand in a list with commas."""
    found = tuple(ids)
    good = all(_ID.match(item) for item in found) and len(set(found)) == len(found)
    return found if good else ()


def _registered(node: Node) -> tuple[_Registered, ...]:
    """Every healthy device that HAMi registered; () if there are none, if they cannot be read, or if HAMi's
    plugin is gone.

    Two forms are in use: a JSON list of objects, and "id,count,memory,cores,type,numa,health,...:" for each.
    """
    annotations = node.metadata.annotations
    text = annotations.get(HAMI_REGISTER, "")
    if not text or len(text) > _LONGEST_REGISTER:
        return ()
    if annotations.get(HAMI_HANDSHAKE, "").startswith("Deleted"):
        return ()
    found = _from_json(text) if text.lstrip().startswith("[") else _from_lines(text)
    usable = tuple(item for item in found if item.memory_mib > 0 and 0 < item.sharers <= _MOST_SHARERS)
    return usable if len(usable) <= _MOST_REGISTERED else ()


def _from_json(text: str) -> list[_Registered]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [
        _Registered(str(item.get("id", "")), item["devmem"], item["count"])
        for item in items
        if isinstance(item, dict)
        and item.get("health") is True
        and type(item.get("devmem")) is int
        and type(item.get("count")) is int
    ]


def _from_lines(text: str) -> list[_Registered]:
    found = []
    for line in text.split(":"):
        fields = line.strip().split(",")
        if len(fields) < _REGISTER_FIELDS or fields[6] != "true":
            continue
        count, memory = fields[1], fields[2]
        if count.isascii() and count.isdigit() and memory.isascii() and memory.isdigit():
            found.append(_Registered(fields[0], int(memory[:9]), int(count[:9])))
    return found
