"""The forms that all drivers share: attributes, quantities, slices of a pool, DeviceClasses.

Source of the limits: Kubernetes API, resource.k8s.io/v1 ResourceSliceSpec.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

API_VERSION = "resource.k8s.io/v1"

MAX_DEVICES = 128
"""Devices in one slice."""

MAX_DEVICES_WITH_COUNTERS = 64
"""Devices in one slice when any of them has taints or consumes counters."""

MAX_COUNTER_SETS = 8
"""Counter sets in one slice."""

MAX_ATTRIBUTES_AND_CAPACITIES = 32
"""Attributes and capacities of one device together."""

PCI_BUS_ID = "resource.kubernetes.io/pciBusID"
PCIE_ROOT = "resource.kubernetes.io/pcieRoot"
NUMA_NODE = "resource.kubernetes.io/numaNode"

_NAMESPACE = uuid.UUID("7f0cbd0c-9b0f-5a0e-8a53-6a1d0c2b7f11")
_BINARY_SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL_SUFFIXES = ("", "k", "M", "G", "T", "P", "E")
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

Json = dict[str, Any]
Version = tuple[int, int]


class Slice(msgspec.Struct, frozen=True):
    """What one ResourceSlice of a pool holds."""

    devices: Sequence[Json] = ()
    shared_counters: Sequence[Json] = ()


def string(value: str) -> Json:
    """A string attribute."""
    return {"string": value}


def integer(value: int) -> Json:
    """An int attribute."""
    return {"int": value}


def boolean(value: bool) -> Json:
    """A bool attribute."""
    return {"bool": value}


def version(value: str) -> Json:
    """A version attribute: `9.0` becomes `9.0.0`, as the drivers complete it."""
    parts = value.split(".")
    return {"version": ".".join(parts + ["0"] * (3 - len(parts)))}


def binary_quantity(amount: int) -> str:
    """The canonical text of a whole quantity in binary form: 81559 * 2**20 is `81559Mi`, 14 is `14`."""
    power = 0
    while amount and amount % 1024 == 0 and power < len(_BINARY_SUFFIXES) - 1:
        amount //= 1024
        power += 1
    return f"{amount}{_BINARY_SUFFIXES[power]}"


def decimal_quantity(amount: int) -> str:
    """The canonical text of a whole quantity in decimal form: 1216 is `1216`, 2000 is `2k`."""
    power = 0
    while amount and amount % 1000 == 0 and power < len(_DECIMAL_SUFFIXES) - 1:
        amount //= 1000
        power += 1
    return f"{amount}{_DECIMAL_SUFFIXES[power]}"


def mebibytes(amount: int) -> str:
    """The canonical text of a number of MiB."""
    return binary_quantity(amount << 20)


def stable_uuid(*names: object) -> str:
    """A UUID that depends on the names only, so that a fleet file always gives the same devices."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(map(str, names))))


def stable_suffix(*names: object) -> str:
    """Five characters in the alphabet of generated Kubernetes names, depending on the names only."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return "".join(_SUFFIX_ALPHABET[byte % len(_SUFFIX_ALPHABET)] for byte in digest[:5])


def resource_slices(driver: str, node: str, slices: Sequence[Slice]) -> list[Json]:
    """The ResourceSlices of a node's pool (pool name = node name), as the kubelet plugin helper names them.

    The helper ends names with five random characters; here they are stable, and numbered so that the order by
    name, which the scheduler uses, is the order published: `n-0-gpu.nvidia.com-0xk2p4`.
    """
    made = []
    for number, content in enumerate(slices):
        suffix = stable_suffix(driver, node, number)
        spec: Json = {
            "driver": driver,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": len(slices)},
        }
        if content.shared_counters:
            spec["sharedCounters"] = list(content.shared_counters)
        if content.devices:
            spec["devices"] = list(content.devices)
        made.append(
            {
                "apiVersion": API_VERSION,
                "kind": "ResourceSlice",
                "metadata": {"name": f"{node}-{driver}-{number:0{len(str(len(slices)))}}{suffix[1:]}"},
                "spec": spec,
            }
        )
    return made


def chunks(devices: Sequence[Json], size: int = MAX_DEVICES) -> list[Slice]:
    """Devices spread over as many slices as the limit asks for."""
    return [Slice(devices[start : start + size]) for start in range(0, len(devices), size)]


def device_class(name: str, expressions: Iterable[str], extended_resource: str = "") -> Json:
    """A DeviceClass with CEL selectors. extended_resource: the resource that pods may ask for."""
    spec: Json = {"selectors": [{"cel": {"expression": expression}} for expression in expressions]}
    if extended_resource:
        spec["extendedResourceName"] = extended_resource
    return {"apiVersion": API_VERSION, "kind": "DeviceClass", "metadata": {"name": name}, "spec": spec}


def capacities(amounts: Mapping[str, str]) -> dict[str, Json]:
    """Plain capacities by name."""
    return {name: {"value": value} for name, value in amounts.items()}
