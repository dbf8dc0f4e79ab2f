"""DeviceClass, ResourceSlice and DeviceTaintRule.

Limits: Kubernetes API reference, resource.k8s.io/v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from aliquot.cel import DEFAULT_COST_LIMIT, CompileError, Environment
from aliquot.embedded import metadata
from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.kinds.podspecs import node_selector
from aliquot.embedded.status import (
    Cause,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    too_long,
    too_many,
)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_MAX_SELECTORS = 32
_MAX_EXPRESSION = 10 * 1024
_MAX_DEVICES = 128
_MAX_DEVICES_WITH_EXTRAS = 64
_MAX_PROPERTIES = 32
_MAX_COUNTER_SETS = 8
_MAX_ATTRIBUTE_TEXT = 64
_ATTRIBUTE_VALUES = ("int", "bool", "string", "version", "ints", "bools", "strings", "versions")
_WHERE = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


def attribute_name_error(name: str) -> str | None:
    """What is wrong with ``domain/identifier`` or ``identifier``, or None."""
    domain, slash, identifier = name.rpartition("/")
    if slash and (error := metadata.subdomain_error(domain)):
        return error
    if not _IDENTIFIER.fullmatch(identifier):
        return (
            "a valid C identifier must start with alphabetic character or '_', followed by a string of "
            "alphanumeric characters or '_' (e.g. 'my_name'), of at most 32 characters"
        )
    return None


def selectors(items: Any, path: str) -> list[Cause]:
    causes = [too_many(path, len(items), _MAX_SELECTORS)] if len(items) > _MAX_SELECTORS else []
    for index, one in enumerate(items):
        expression = (one.get("cel") or {}).get("expression") or ""
        if not one.get("cel"):
            causes.append(required(f"{path}[{index}].cel"))
        elif len(expression) > _MAX_EXPRESSION:
            causes.append(too_long(f"{path}[{index}].cel.expression", _MAX_EXPRESSION))
        elif expression:
            causes += _expression(expression, f"{path}[{index}].cel.expression")
    return causes


@lru_cache(maxsize=1024)
def _expression(text: str, path: str) -> tuple[Cause, ...]:
    """A selector must compile, and what it may cost is limited."""
    try:
        program = Environment.for_devices(stored=False).compile(text)
    except CompileError as error:
        return (invalid_value(path, text, f"compilation failed: {error}"),)
    if program.cost > DEFAULT_COST_LIMIT:
        return (forbidden_field(path, "too complex, exceeds cost limit"),)
    return ()


class ClassBehavior(Behavior):
    """DeviceClass."""

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = selectors(spec.get("selectors") or (), "spec.selectors")
        for index, config in enumerate(spec.get("config") or ()):
            if "opaque" not in config:
                causes.append(required(f"spec.config[{index}].opaque"))
        return causes


def _stamp(taints: Iterable[Object], now: Moment) -> None:
    for taint in taints:
        taint.setdefault("timeAdded", now.text)


class SliceBehavior(Behavior):
    """ResourceSlice: driver, pool and node never change; devices do."""

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def on_create(self, obj: Object, now: Moment) -> None:
        for device in obj["spec"].get("devices") or ():
            _stamp(device.get("taints") or (), now)

    def on_update(self, obj: Object, old: Object, subresource: str, now: Moment) -> None:
        self.on_create(obj, now)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes: list[Cause] = []
        if (driver := spec.get("driver")) and (error := metadata.subdomain_error(driver)):
            causes.append(invalid_value("spec.driver", driver, error))
        pool = spec.get("pool") or {}
        if (name := pool.get("name")) and any(metadata.subdomain_error(part) for part in name.split("/")):
            why = "must consist of one or more DNS sub-domains separated by slashes"
            causes.append(invalid_value("spec.pool.name", name, why))
        if (count := pool.get("resourceSliceCount", 0)) <= 0 and pool:
            causes.append(invalid_value("spec.pool.resourceSliceCount", count, "must be greater than zero"))
        if (generation := pool.get("generation", 0)) < 0:
            why = "must be greater than or equal to zero"
            causes.append(invalid_value("spec.pool.generation", generation, why))
        given = [key for key in _WHERE if spec.get(key)]
        if len(given) != 1:
            listed = ", ".join(f"`{key}`" for key in _WHERE)
            why = f"exactly one of {listed} is required"
            if given:
                why += ", but multiple fields are set"
            shown = {key: spec[key] for key in given}
            causes.append(invalid_value("spec", shown, why) if given else required("spec", why))
        if spec.get("nodeSelector"):
            causes += node_selector(spec["nodeSelector"], "spec.nodeSelector")
        return causes + _devices(spec)

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        new, had = obj["spec"], old["spec"]
        causes = [
            invalid_value(f"spec.{key}", new.get(key), "field is immutable")
            for key in ("driver", "nodeName")
            if new.get(key) != had.get(key)
        ]
        name = (new.get("pool") or {}).get("name")
        if name != (had.get("pool") or {}).get("name"):
            causes.append(invalid_value("spec.pool.name", name, "field is immutable"))
        return causes


def _devices(spec: Object) -> list[Cause]:
    devices, counters = spec.get("devices") or (), spec.get("sharedCounters") or ()
    causes: list[Cause] = []
    if devices and counters:
        causes.append(invalid_value("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    if len(counters) > _MAX_COUNTER_SETS:
        causes.append(too_many("spec.sharedCounters", len(counters), _MAX_COUNTER_SETS))
    extras = any(one.get("taints") or one.get("consumesCounters") for one in devices)
    limit = _MAX_DEVICES_WITH_EXTRAS if extras else _MAX_DEVICES
    if len(devices) > limit:
        causes.append(too_many("spec.devices", len(devices), limit))
    names: set[str] = set()
    for index, device in enumerate(devices):
        path = f"spec.devices[{index}]"
        name = device.get("name") or ""
        if name and (error := metadata.label_name_error(name)):
            causes.append(invalid_value(f"{path}.name", name, error))
        if name in names:
            causes.append(duplicate(path, name))
        names.add(name)
        causes += _properties(device, path)
        where = [key for key in ("nodeName", "nodeSelector", "allNodes") if device.get(key)]
        if where and not spec.get("perDeviceNodeSelection"):
            why = "must not be set unless `perDeviceNodeSelection` is true"
            causes += [forbidden_field(f"{path}.{key}", why) for key in where]
        elif spec.get("perDeviceNodeSelection") and len(where) != 1:
            why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required"
            causes.append(required(path, why))
    return causes


def _properties(device: Object, path: str) -> list[Cause]:
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    causes: list[Cause] = []
    if len(attributes) + len(capacity) > _MAX_PROPERTIES:
        total = len(attributes) + len(capacity)
        why = f"the total number of attributes and capacities must not exceed {_MAX_PROPERTIES}"
        causes.append(invalid_value(path, total, why))
    for name, value in attributes.items():
        if error := attribute_name_error(name):
            causes.append(invalid_value(f"{path}.attributes", name, error))
        if len(value) != 1:
            listed = ", ".join(f"`{key}`" for key in _ATTRIBUTE_VALUES[:4])
            causes.append(
                invalid_value(f"{path}.attributes[{name}]", value, f"exactly one of {listed} is required")
            )
        for key in ("string", "version"):
            if len(value.get(key) or "") > _MAX_ATTRIBUTE_TEXT:
                causes.append(too_long(f"{path}.attributes[{name}].{key}", _MAX_ATTRIBUTE_TEXT))
    for name in capacity:
        if error := attribute_name_error(name):
            causes.append(invalid_value(f"{path}.capacity", name, error))
    return causes


class TaintRuleBehavior(Behavior):
    """DeviceTaintRule."""

    def on_create(self, obj: Object, now: Moment) -> None:
        _stamp([(obj.get("spec") or {}).get("taint") or {}], now)
        if "spec" in obj and not obj["spec"].get("taint", {}).get("key"):
            (obj["spec"].get("taint") or {}).pop("timeAdded", None)

    def on_update(self, obj: Object, old: Object, subresource: str, now: Moment) -> None:
        self.on_create(obj, now)

    def validate(self, obj: Object) -> list[Cause]:
        taint = (obj.get("spec") or {}).get("taint") or {}
        if (key := taint.get("key")) and (error := metadata.qualified_name_error(key)):
            return [invalid_value("spec.taint.key", key, error)]
        return []
