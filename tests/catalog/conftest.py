"""What the Kubernetes API asks of the objects that the catalogue makes."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from aliquot.cel.quantity import Quantity
from aliquot.model.kinds import decode, encode_json

Json = dict[str, Any]

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
C_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


def _qualified(name: str) -> None:
    domain, slash, identifier = name.rpartition("/")
    assert C_IDENTIFIER.fullmatch(identifier), name
    assert not slash or (len(domain) <= 63 and DNS_SUBDOMAIN.fullmatch(domain)), name


def _quantity(text: str) -> Quantity:
    amount = Quantity.parse(text)
    assert str(amount) == text, f"{text} is not canonical"
    return amount


def _attribute(name: str, value: Json) -> None:
    _qualified(name)
    assert len(value) == 1
    kind, content = next(iter(value.items()))
    assert kind in ("string", "int", "bool", "version")
    if kind in ("string", "version"):
        assert len(content) <= 64, (name, content)
    if kind == "version":
        assert SEMVER.fullmatch(content)
    if kind == "int":
        assert type(content) is int


def _policy(capacity: Json) -> None:
    full = _quantity(capacity["value"])
    policy = capacity.get("requestPolicy")
    if policy is None:
        return
    default = _quantity(policy["default"])
    assert ("validRange" in policy) != ("validValues" in policy)
    if "validValues" in policy:
        values = [_quantity(text) for text in policy["validValues"]]
        assert default in values
        assert values == sorted(values)
        assert len(values) <= 10
        assert values[-1] <= full
        return
    limits = {name: _quantity(text) for name, text in policy["validRange"].items()}
    assert limits["min"] <= default <= limits["max"] <= full
    step = limits["step"].value()
    assert (default.value() - limits["min"].value()) % step == 0
    assert (limits["max"].value() - limits["min"].value()) % step == 0


def check_device(device: Json, sets: dict[str, Json]) -> None:
    assert DNS_LABEL.fullmatch(device["name"]), device["name"]
    known = {"name", "attributes", "capacity", "consumesCounters", "allowMultipleAllocations"}
    assert set(device) <= known
    attributes, capacity = device.get("attributes", {}), device.get("capacity", {})
    assert len(attributes) + len(capacity) <= 32
    for name, value in attributes.items():
        _attribute(name, value)
    for name, held in capacity.items():
        _qualified(name)
        _policy(held)
        assert "requestPolicy" not in held or device["allowMultipleAllocations"]
    for consumption in device.get("consumesCounters", ()):
        available = sets[consumption["counterSet"]]["counters"]
        for counter, amount in consumption["counters"].items():
            assert _quantity(amount["value"]) <= _quantity(available[counter]["value"]), (
                device["name"],
                counter,
            )


def _check_slice(spec: Json, sets: dict[str, Json], kubernetes: tuple[int, int]) -> None:
    devices, shared = spec.get("devices", []), spec.get("sharedCounters", [])
    counting = any("consumesCounters" in device for device in devices)
    assert len(devices) <= (64 if counting else 128)
    assert len(shared) <= 8
    assert devices or shared
    if kubernetes >= (1, 35):
        assert not (devices and shared)
    for counters in shared:
        assert DNS_LABEL.fullmatch(counters["name"])
        assert 1 <= len(counters["counters"]) <= 32
        for name, amount in counters["counters"].items():
            assert DNS_LABEL.fullmatch(name)
            _quantity(amount["value"])
    for device in devices:
        check_device(device, sets)


def check_objects(objects: Iterable[Json], kubernetes: tuple[int, int] = (1, 36)) -> None:
    """Names, limits and references of a cluster's DeviceClasses, Nodes and ResourceSlices."""
    nodes: set[str] = set()
    names: set[tuple[str, str]] = set()
    pools: dict[tuple[str, str], list[Json]] = defaultdict(list)
    for made in objects:
        metadata = made["metadata"]
        key = (made["kind"], metadata["name"])
        assert key not in names
        names.add(key)
        typed = json.loads(encode_json(decode(made)))
        if made["kind"] != "Node":
            assert typed["spec"] == made["spec"]
        assert len(metadata["name"]) <= 253
        assert DNS_SUBDOMAIN.fullmatch(metadata["name"])
        if made["kind"] == "Node":
            nodes.add(metadata["name"])
            _check_node(made)
        elif made["kind"] == "ResourceSlice":
            spec = made["spec"]
            assert spec["nodeName"] in nodes
            assert len(spec["driver"]) <= 63
            pools[spec["driver"], spec["pool"]["name"]].append(spec)
        else:
            assert made["kind"] == "DeviceClass"
    for specs in pools.values():
        assert {spec["pool"]["resourceSliceCount"] for spec in specs} == {len(specs)}
        assert {spec["pool"]["generation"] for spec in specs} == {1}
        sets = {counters["name"]: counters for spec in specs for counters in spec.get("sharedCounters", ())}
        devices = [device["name"] for spec in specs for device in spec.get("devices", ())]
        assert len(devices) == len(set(devices))
        for spec in specs:
            _check_slice(spec, sets, kubernetes)


def _check_node(node: Json) -> None:
    for key, value in node["metadata"]["labels"].items():
        prefix, _, name = key.rpartition("/")
        assert LABEL_NAME.fullmatch(name), key
        assert not prefix or DNS_SUBDOMAIN.fullmatch(prefix), key
        assert LABEL_VALUE.fullmatch(value), (key, value)
    status = node["status"]
    assert set(status["capacity"]) == set(status["allocatable"])
    for name, text in status["capacity"].items():
        assert _quantity(status["allocatable"][name]) <= _quantity(text)
    assert {"Ready": "True"}.items() <= {c["type"]: c["status"] for c in status["conditions"]}.items()


@pytest.fixture(scope="session")
def api_rules() -> Callable[..., None]:
    """Checks a cluster's objects against the limits of the API."""
    return check_objects
