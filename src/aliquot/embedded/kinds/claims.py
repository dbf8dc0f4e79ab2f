"""ResourceClaim and ResourceClaimTemplate.

Source: Kubernetes API reference, resource.k8s.io/v1, and KEP-4381 (structured parameters).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aliquot.embedded import metadata
from aliquot.embedded.behaviors import Behavior, Find, Moment
from aliquot.embedded.hooks import Object
from aliquot.embedded.kinds.devices import attribute_name_error, selectors
from aliquot.embedded.status import (
    Cause,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    too_many,
    unsupported,
)

MAX_RESERVATIONS = 256
_MAX_REQUESTS = 32
_MAX_ALTERNATIVES = 8
_MAX_TOLERATIONS = 16
_MAX_RESULTS = 32
_ADMIN_LABEL = "resource.kubernetes.io/admin-access"


def default_spec(spec: Object) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        for one in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if isinstance(one, dict) and one.get("allocationMode") == "ExactCount" and not one.get("count"):
                one["count"] = 1


def validate_spec(spec: Object, path: str) -> list[Cause]:
    devices = spec.get("devices") or {}
    below = f"{path}.devices"
    causes: list[Cause] = []
    requests = devices.get("requests") or ()
    for part in ("requests", "constraints", "config"):
        if len(devices.get(part) or ()) > _MAX_REQUESTS:
            causes.append(too_many(f"{below}.{part}", len(devices[part]), _MAX_REQUESTS))
    names: set[str] = set()
    for index, request in enumerate(requests):
        causes += _request(request, f"{below}.requests[{index}]", names)
    for index, constraint in enumerate(devices.get("constraints") or ()):
        causes += _constraint(constraint, f"{below}.constraints[{index}]", names)
    for index, config in enumerate(devices.get("config") or ()):
        where = f"{below}.config[{index}]"
        causes += _references(config, where, names)
        if "opaque" not in config:
            causes.append(required(f"{where}.opaque", "exactly one kind of configuration is required"))
    return causes


def _request(request: Object, path: str, names: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = request.get("name") or ""
    if name and (error := metadata.label_name_error(name)):
        causes.append(invalid_value(f"{path}.name", name, error))
    if name in names:
        causes.append(duplicate(f"{path}.name", name))
    names.add(name)
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is not None and alternatives:
        why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        return [*causes, invalid_value(path, request, why)]
    if exactly is None and not alternatives:
        return [*causes, required(path, "exactly one of `exactly` or `firstAvailable` is required")]
    if exactly is not None:
        return causes + _ask(exactly, f"{path}.exactly")
    if len(alternatives) > _MAX_ALTERNATIVES:
        causes.append(too_many(f"{path}.firstAvailable", len(alternatives), _MAX_ALTERNATIVES))
    for index, one in enumerate(alternatives):
        where = f"{path}.firstAvailable[{index}]"
        sub = f"{name}/{one.get('name', '')}"
        if one.get("name") and (error := metadata.label_name_error(one["name"])):
            causes.append(invalid_value(f"{where}.name", one["name"], error))
        if sub in names:
            causes.append(duplicate(f"{where}.name", one.get("name")))
        names.add(sub)
        causes += _ask(one, where)
    return causes


def _ask(one: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    device_class = one.get("deviceClassName") or ""
    if device_class and (error := metadata.subdomain_error(device_class)):
        causes.append(invalid_value(f"{path}.deviceClassName", device_class, error))
    causes += selectors(one.get("selectors") or (), f"{path}.selectors")
    mode, count = one.get("allocationMode"), one.get("count")
    if mode not in ("All", "ExactCount"):
        causes.append(unsupported(f"{path}.allocationMode", mode, ("All", "ExactCount")))
    elif mode == "All" and count:
        why = "must not be specified when allocationMode is 'All'"
        causes.append(invalid_value(f"{path}.count", count, why))
    elif mode == "ExactCount" and (count or 0) <= 0:
        causes.append(invalid_value(f"{path}.count", count, "must be greater than zero"))
    if len(one.get("tolerations") or ()) > _MAX_TOLERATIONS:
        causes.append(too_many(f"{path}.tolerations", len(one["tolerations"]), _MAX_TOLERATIONS))
    return causes


def _references(one: Object, path: str, names: set[str]) -> list[Cause]:
    why = (
        "must be the name of a request in the claim or the name of a request and a subrequest "
        "separated by '/'"
    )
    return [
        invalid_value(f"{path}.requests[{index}]", name, why)
        for index, name in enumerate(one.get("requests") or ())
        if name not in names
    ]


def _constraint(constraint: Object, path: str, names: set[str]) -> list[Cause]:
    causes = _references(constraint, path, names)
    given = [key for key in ("matchAttribute", "distinctAttribute") if constraint.get(key)]
    if len(given) != 1:
        why = "exactly one of `matchAttribute` or `distinctAttribute` is required"
        return [*causes, required(path, why) if not given else invalid_value(path, constraint, why)]
    name = constraint[given[0]]
    if "/" not in name:
        causes.append(invalid_value(f"{path}.{given[0]}", name, "must include a domain"))
    elif error := attribute_name_error(name):
        causes.append(invalid_value(f"{path}.{given[0]}", name, error))
    return causes


def _admin_access(spec: Object, path: str, namespace: Object | None) -> list[Cause]:
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    if labels.get(_ADMIN_LABEL) == "true":
        return []
    why = f"admin access to devices requires the `{_ADMIN_LABEL}: true` label on the containing namespace"
    return [
        forbidden_field(f"{path}.devices.requests[{index}].exactly.adminAccess", why)
        for index, request in enumerate((spec.get("devices") or {}).get("requests") or ())
        if (request.get("exactly") or {}).get("adminAccess")
    ]


class ClaimBehavior(Behavior):
    """A claim's spec never changes; its status is the scheduler's."""

    def default(self, obj: Object) -> None:
        default_spec(obj.setdefault("spec", {}))

    def on_create(self, obj: Object, now: Moment) -> None:
        obj["status"] = {}

    def resolve(self, obj: Object, find: Find) -> list[Cause]:
        return _admin_access(obj["spec"], "spec", find("namespaces", "", "", obj["metadata"]["namespace"]))

    def validate(self, obj: Object) -> list[Cause]:
        return validate_spec(obj["spec"], "spec") + _validate_status(obj.get("status") or {}, obj["spec"])

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        if subresource != "status":
            if obj["spec"] != old["spec"]:
                return [invalid_value("spec", obj["spec"], "field is immutable")]
            return []
        new, had = obj.get("status") or {}, old.get("status") or {}
        causes: list[Cause] = []
        if had.get("allocation") and new.get("allocation") and had["allocation"] != new["allocation"]:
            causes.append(invalid_value("status.allocation", new["allocation"], "field is immutable"))
        known = {one.get("uid") for one in had.get("reservedFor") or ()}
        added = [one for one in new.get("reservedFor") or () if one.get("uid") not in known]
        if added and obj["metadata"].get("deletionTimestamp"):
            why = "may not be reserved for new consumers while the claim is being deleted"
            causes.append(forbidden_field("status.reservedFor", why))
        return causes


def _validate_status(status: Object, spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    allocation = status.get("allocation")
    reserved = status.get("reservedFor") or ()
    if len(reserved) > MAX_RESERVATIONS:
        causes.append(too_many("status.reservedFor", len(reserved), MAX_RESERVATIONS))
    seen: set[Any] = set()
    for index, one in enumerate(reserved):
        where = f"status.reservedFor[{index}]"
        for key in ("resource", "name", "uid"):
            if not one.get(key):
                causes.append(required(f"{where}.{key}"))
        if one.get("uid") in seen:
            causes.append(duplicate(where, one))
        seen.add(one.get("uid"))
    if reserved and not allocation:
        why = "may not be specified when `allocated` is not set"
        causes.append(forbidden_field("status.reservedFor", why))
    if allocation:
        names = set(_request_names(spec))
        causes += _validate_results((allocation.get("devices") or {}).get("results") or (), names)
    if status.get("devices"):
        causes += _validate_devices(status["devices"], allocation or {})
    return causes


def _request_names(spec: Object) -> Iterator[str]:
    """What results may name: requests, and alternatives as request/alternative."""
    for request in (spec.get("devices") or {}).get("requests") or ():
        name = request.get("name", "")
        alternatives = request.get("firstAvailable") or ()
        if not alternatives:
            yield name
        for one in alternatives:
            yield f"{name}/{one.get('name', '')}"


def _validate_results(results: Any, names: set[str]) -> list[Cause]:
    path = "status.allocation.devices.results"
    causes = [too_many(path, len(results), _MAX_RESULTS)] if len(results) > _MAX_RESULTS else []
    for index, one in enumerate(results):
        for key in ("request", "driver", "pool", "device"):
            if not one.get(key):
                causes.append(required(f"{path}[{index}].{key}"))
        if (request := one.get("request")) and request not in names:
            why = "must be the name of a request in the claim"
            causes.append(invalid_value(f"{path}[{index}].request", request, why))
        if (driver := one.get("driver")) and (error := metadata.subdomain_error(driver)):
            causes.append(invalid_value(f"{path}[{index}].driver", driver, error))
        if (device := one.get("device")) and (error := metadata.label_name_error(device)):
            causes.append(invalid_value(f"{path}[{index}].device", device, error))
    return causes


def _validate_devices(devices: Any, allocation: Object) -> list[Cause]:
    keys = ("driver", "pool", "device", "shareID")
    results = (allocation.get("devices") or {}).get("results") or ()
    allocated = {tuple(one.get(key) for key in keys) for one in results}
    return [
        invalid_value(f"status.devices[{index}]", one, "must be an allocated device in the claim")
        for index, one in enumerate(devices)
        if tuple(one.get(key) for key in keys) not in allocated
    ]


class TemplateBehavior(Behavior):
    """ResourceClaimTemplate: never changes."""

    def default(self, obj: Object) -> None:
        default_spec((obj.get("spec") or {}).get("spec") or {})

    def resolve(self, obj: Object, find: Find) -> list[Cause]:
        namespace = find("namespaces", "", "", obj["metadata"]["namespace"])
        return _admin_access((obj.get("spec") or {}).get("spec") or {}, "spec.spec", namespace)

    def validate(self, obj: Object) -> list[Cause]:
        return validate_spec((obj.get("spec") or {}).get("spec") or {}, "spec.spec")

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        if obj.get("spec") != old.get("spec"):
            return [invalid_value("spec", obj.get("spec"), "field is immutable")]
        return []
