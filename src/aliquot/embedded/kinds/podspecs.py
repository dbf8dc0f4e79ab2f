"""The spec of a pod, wherever it stands: in a Pod or in a template. Defaults and validation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from aliquot.cel.quantity import Quantity
from aliquot.embedded import metadata
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import (
    Cause,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)

CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")
_SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def containers_of(spec: Object) -> Iterator[tuple[str, Object]]:
    """Each container with its path below the spec."""
    for part in CONTAINER_LISTS:
        for index, one in enumerate(spec.get(part) or ()):
            yield f"{part}[{index}]", one


@lru_cache(maxsize=4096)
def amount(text: str) -> Quantity:
    return Quantity.parse(text)


def default(spec: Object) -> None:
    for _, one in containers_of(spec):
        image = one.get("image") or ""
        if "imagePullPolicy" not in one and image:
            name, _, tag = image.rpartition("/")[2].partition(":")
            latest = "@" not in image and tag in ("", "latest")
            one["imagePullPolicy"] = "Always" if latest and name else "IfNotPresent"
        resources = one.get("resources")
        if resources and resources.get("limits"):
            requests = resources.setdefault("requests", {})
            for key, value in resources["limits"].items():
                requests.setdefault(key, value)
        if spec.get("hostNetwork"):
            for port in one.get("ports") or ():
                port.setdefault("hostPort", port.get("containerPort"))
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def quality_of_service(spec: Object) -> str:
    """Guaranteed: every container limits cpu and memory to what it requests.

    BestEffort: none asks for any.
    """
    asks, guaranteed = False, True
    for part in ("initContainers", "containers"):
        for one in spec.get(part) or ():
            resources = one.get("resources") or {}
            limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
            for name in ("cpu", "memory"):
                asks = asks or bool(name in limits or name in requests)
                if name not in limits or requests.get(name, limits[name]) != limits[name]:
                    guaranteed = False
    if not asks:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def validate(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not spec.get("containers") and "containers" in spec:
        causes.append(required(f"{path}.containers"))
    volumes = _names(spec.get("volumes") or (), f"{path}.volumes", causes)
    claims = _names(spec.get("resourceClaims") or (), f"{path}.resourceClaims", causes)
    for index, claim in enumerate(spec.get("resourceClaims") or ()):
        causes += _claim_source(claim, f"{path}.resourceClaims[{index}]")
    names: set[str] = set()
    for part, one in containers_of(spec):
        causes += _container(one, f"{path}.{part}", names, volumes, claims)
    causes += _placement(spec, path)
    if (seconds := spec.get("terminationGracePeriodSeconds")) is not None and seconds < 0:
        causes.append(invalid_value(f"{path}.terminationGracePeriodSeconds", seconds, "must be >= 0"))
    if (seconds := spec.get("activeDeadlineSeconds")) is not None and seconds < 1:
        why = "must be between 1 and 2147483647, inclusive"
        causes.append(invalid_value(f"{path}.activeDeadlineSeconds", seconds, why))
    return causes


def _names(items: Any, path: str, causes: list[Cause]) -> set[str]:
    found: set[str] = set()
    for index, one in enumerate(items):
        name = one.get("name") or ""
        if name and (error := metadata.label_name_error(name)):
            causes.append(invalid_value(f"{path}[{index}].name", name, error))
        if name in found:
            causes.append(duplicate(f"{path}[{index}].name", name))
        found.add(name)
    return found


def _claim_source(claim: Object, path: str) -> list[Cause]:
    given = [key for key in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(key)]
    if len(given) == 2:
        why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
        return [invalid_value(path, claim, why)]
    if not given:
        why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        return [invalid_value(path, claim, why)]
    if error := metadata.subdomain_error(claim[given[0]]):
        return [invalid_value(f"{path}.{given[0]}", claim[given[0]], error)]
    return []


def _not_found(path: str, name: str) -> Cause:
    return Cause("FieldValueNotFound", path, f'Not found: "{name}"')


def _container(one: Object, path: str, names: set[str], volumes: set[str], claims: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name = one.get("name") or ""
    if name:
        if error := metadata.label_name_error(name):
            causes.append(invalid_value(f"{path}.name", name, error))
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
    if not (one.get("image") or "").strip():
        causes.append(required(f"{path}.image"))
    for index, mount in enumerate(one.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            causes.append(_not_found(f"{path}.volumeMounts[{index}].name", mount.get("name", "")))
    for index, port in enumerate(one.get("ports") or ()):
        number = port.get("containerPort") or 0
        if not 1 <= number <= 65535:
            why = "must be between 1 and 65535, inclusive"
            causes.append(invalid_value(f"{path}.ports[{index}].containerPort", number, why))
    resources = one.get("resources") or {}
    for index, claim in enumerate(resources.get("claims") or ()):
        if claim.get("name") not in claims:
            causes.append(_not_found(f"{path}.resources.claims[{index}]", claim.get("name", "")))
    return causes + _resources(resources, f"{path}.resources")


def _resources(resources: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    limits = resources.get("limits") or {}
    requests = resources.get("requests") or {}
    for part, amounts in (("limits", limits), ("requests", requests)):
        for key, text in amounts.items():
            where = f"{path}.{part}.{key}" if "." not in key else f"{path}.{part}[{key}]"
            if error := metadata.qualified_name_error(key):
                causes.append(invalid_value(where, key, error))
            elif amount(text).nano < 0:
                causes.append(invalid_value(where, text, "must be greater than or equal to 0"))
            elif is_extended(key) and not amount(text).is_integer:
                causes.append(invalid_value(where, text, "must be an integer"))
    for key, text in requests.items():
        limit = limits.get(key)
        if limit is None:
            if is_extended(key):
                causes.append(
                    required(f"{path}.limits", "Limit must be set for non overcommitable resources")
                )
        elif is_extended(key) and amount(text) != amount(limit):
            causes.append(invalid_value(f"{path}.requests", text, f"must be equal to {key} limit of {limit}"))
        elif amount(text) > amount(limit):
            why = f"must be less than or equal to {key} limit of {limit}"
            causes.append(invalid_value(f"{path}.requests", text, why))
    return causes


def is_extended(name: str) -> bool:
    """Whether a resource is counted in whole devices, such as nvidia.com/gpu."""
    prefix, slash, _ = name.rpartition("/")
    if not slash or name.startswith("requests."):
        return name.startswith("hugepages-")
    return prefix != "kubernetes.io" and not prefix.endswith(".kubernetes.io")


def _placement(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if selector := spec.get("nodeSelector"):
        causes += metadata.label_causes(selector, f"{path}.nodeSelector")
    for index, one in enumerate(spec.get("tolerations") or ()):
        causes += _toleration(one, f"{path}.tolerations[{index}]")
    gates = spec.get("schedulingGates") or ()
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name") or ""
        if error := metadata.qualified_name_error(name) if name else None:
            causes.append(invalid_value(f"{path}.schedulingGates[{index}]", name, error))
        if name in seen:
            causes.append(duplicate(f"{path}.schedulingGates[{index}]", name))
        seen.add(name)
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    wanted = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if wanted is not None:
        below = f"{path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
        causes += node_selector(wanted, below)
    return causes


def node_selector(selector: Object, path: str) -> list[Cause]:
    """What is wrong with a core/v1 NodeSelector."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    causes: list[Cause] = []
    for index, term in enumerate(terms):
        for part in ("matchExpressions", "matchFields"):
            for position, one in enumerate(term.get(part) or ()):
                below = f"{path}.nodeSelectorTerms[{index}].{part}[{position}]"
                causes += _requirement(one, below)
    return causes


def _requirement(one: Object, path: str) -> list[Cause]:
    operator, values = one.get("operator"), one.get("values") or ()
    if operator not in _SELECTOR_OPERATORS:
        return [invalid_value(f"{path}.operator", operator, "not a valid selector operator")]
    if operator in ("In", "NotIn") and not values:
        return [required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")]
    if operator in ("Exists", "DoesNotExist") and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        return [forbidden_field(f"{path}.values", why)]
    if operator in ("Gt", "Lt") and len(values) != 1:
        return [required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")]
    return []


def _toleration(one: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    operator = one.get("operator") or "Equal"
    if operator not in ("Equal", "Exists", "Gt", "Lt"):
        causes.append(unsupported(f"{path}.operator", operator, ("Equal", "Exists")))
    if not one.get("key") and operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        causes.append(invalid_value(f"{path}.operator", operator, why))
    if one.get("key") and (error := metadata.qualified_name_error(one["key"])):
        causes.append(invalid_value(f"{path}.key", one["key"], error))
    if operator == "Exists" and one.get("value"):
        causes.append(
            invalid_value(f"{path}.operator", one, "value must be empty when `operator` is 'Exists'")
        )
    if one.get("tolerationSeconds") is not None and one.get("effect") != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        causes.append(invalid_value(f"{path}.effect", one.get("effect", ""), why))
    return causes
