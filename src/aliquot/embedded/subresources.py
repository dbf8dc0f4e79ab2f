"""Subresources that are not simply a part of the object: binding, eviction, scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from aliquot.embedded import deletion
from aliquot.embedded.hooks import Object, User
from aliquot.embedded.metadata import timestamp
from aliquot.embedded.resources import Resource
from aliquot.embedded.selectors import label_selector_of
from aliquot.embedded.status import (
    Cause,
    StatusError,
    bad_request,
    conflict,
    invalid,
    invalid_value,
    method_not_supported,
    not_found,
    required,
)
from aliquot.embedded.writing import Options, namespace_object

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

_CREATED: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def create(
    registry: Registry,
    resource: Resource,
    namespace: str,
    name: str,
    subresource: str,
    obj: Any,
    user: User,
    dry_run: bool,
) -> Object:
    if resource.key != "pods" or subresource not in ("binding", "eviction"):
        raise method_not_supported(f"{resource.plural}/{subresource}", resource.group, "create")
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata") or {}, dict):
        raise bad_request(f"the body of pods/{subresource} must be a JSON object")
    body: Object = msgspec.json.decode(msgspec.json.encode(obj))
    given = (body.get("metadata") or {}).get("name")
    if given and given != name:
        raise bad_request("name in URL does not match name in " + subresource.capitalize() + " object")
    stored = registry.stored(resource, namespace, name)
    admitted = registry.admission.admit(
        "CREATE",
        resource,
        subresource,
        namespace,
        name,
        body,
        None,
        user,
        namespace_object(registry, resource, stored.namespace),
        dry_run,
    )
    body = admitted if admitted is not None else body
    if subresource == "binding":
        return _bind(registry, resource, namespace, name, body, dry_run)
    return _evict(registry, resource, namespace, name, body, user, dry_run)


def _bind(
    registry: Registry, resource: Resource, namespace: str, name: str, binding: Object, dry_run: bool
) -> Object:
    """Set ``spec.nodeName`` once; a gated, deleted or already bound pod is refused."""
    target = binding.get("target")
    target = target if isinstance(target, dict) else {}
    node = target.get("name") or ""
    causes: list[Cause] = []
    if target.get("kind") not in (None, "", "Node", "Minion"):
        causes.append(
            Cause("FieldValueNotSupported", "target.kind", 'Unsupported value: supported values: "Node"')
        )
    if not node:
        causes.append(required("target.name"))
    if causes:
        raise invalid("Binding", "", name, causes)
    stored = registry.stored(resource, namespace, name)
    pod = registry.decode(resource, stored)
    meta, spec = pod["metadata"], pod["spec"]
    wanted = (binding.get("metadata") or {}).get("uid")
    if wanted and wanted != meta["uid"]:
        why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {meta['uid']}"
        raise conflict("pods", "", name, why)
    if meta.get("deletionTimestamp"):
        raise conflict("pods/binding", "", name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
        raise conflict("pods", "", name, why)
    if spec.get("schedulingGates"):
        raise conflict("pods/binding", "", name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    for key in ("annotations", "labels"):
        if extra := (binding.get("metadata") or {}).get(key):
            meta[key] = (meta.get(key) or {}) | extra
    now = timestamp(registry.clock())
    set_condition(pod.setdefault("status", {}), {"type": "PodScheduled", "status": "True"}, now)
    if not dry_run:
        registry.write(resource, pod, stored)
    return dict(_CREATED)


def set_condition(status: Object, condition: Object, now: str) -> None:
    """Replace the condition of this type; ``lastTransitionTime`` moves only if its status does."""
    conditions = status.setdefault("conditions", [])
    for index, one in enumerate(conditions):
        if one.get("type") == condition["type"]:
            since = one.get("lastTransitionTime") if one.get("status") == condition["status"] else now
            conditions[index] = {"lastTransitionTime": since or now} | condition
            return
    conditions.append({"lastTransitionTime": now} | condition)


def _evict(
    registry: Registry,
    resource: Resource,
    namespace: str,
    name: str,
    eviction: Object,
    user: User,
    dry_run: bool,
) -> Object:
    """Delete the pod unless a PodDisruptionBudget that selects it allows no disruption now (429)."""
    options = eviction.get("deleteOptions") or {}
    if not isinstance(options, dict):
        raise bad_request("deleteOptions must be an object")
    pod = registry.get(resource, namespace, name)
    finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Pending")
    if not finished and not pod["metadata"].get("deletionTimestamp"):
        _use_budget(registry, namespace, pod, dry_run or bool(options.get("dryRun")))
    dry_run = dry_run or bool(options.get("dryRun"))
    preconditions = dict(options.get("preconditions") or {})
    if not dry_run:
        _announce(registry, resource, namespace, name, preconditions)
    request = deletion.Request(
        user, preconditions, options.get("propagationPolicy"), options.get("gracePeriodSeconds"), dry_run
    )
    deletion.delete(registry, resource, namespace, name, request)
    return dict(_CREATED)


def _announce(
    registry: Registry, resource: Resource, namespace: str, name: str, preconditions: Object
) -> None:
    """Tell in the pod's status that it did not fail itself (KEP-3329). That changes the version, so a
    precondition on it is judged here."""
    stored = registry.stored(resource, namespace, name)
    pod = registry.decode(resource, stored)
    meta = pod["metadata"]
    if preconditions.get("uid") not in (None, meta["uid"]):
        return
    if preconditions.get("resourceVersion") not in (None, meta["resourceVersion"]):
        return
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    set_condition(pod.setdefault("status", {}), condition, timestamp(registry.clock()))
    registry.write(resource, pod, stored)
    preconditions.pop("resourceVersion", None)


def _use_budget(registry: Registry, namespace: str, pod: Object, dry_run: bool) -> None:
    budgets = registry.resources.named("poddisruptionbudgets", "policy")
    labels = pod["metadata"].get("labels") or {}
    for stored in list(registry.collection(budgets).items(namespace)):
        budget = registry.decode(budgets, stored)
        selector = (budget.get("spec") or {}).get("selector")
        if selector is None or not label_selector_of(selector).matches(labels):
            continue
        status = budget.setdefault("status", {})
        allowed = int(status.get("disruptionsAllowed") or 0)
        if allowed <= 0:
            name = stored.name
            healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
            message = f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
            raise StatusError(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
                causes=[Cause("DisruptionBudget", "", message)],
            )
        if not dry_run:
            status["disruptionsAllowed"] = allowed - 1
            disrupted = status.setdefault("disruptedPods", {})
            disrupted[pod["metadata"]["name"]] = timestamp(registry.clock())
            registry.write(budgets, budget, stored)


def get(registry: Registry, resource: Resource, namespace: str | None, name: str, subresource: str) -> Object:
    obj = registry.get(resource, namespace, name)
    if subresource == "scale":
        return scale_of(resource, obj)
    if subresource == "status" and resource.has_status:
        return obj
    raise not_found(f"{resource.plural}/{subresource}", resource.group, name)


def scale_of(resource: Resource, obj: Object) -> Object:
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    scale: Object = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": {"replicas": status.get("replicas", 0)},
    }
    selector = spec.get("selector")
    if isinstance(selector, dict):
        scale["status"]["selector"] = selector_text(selector)
    return scale


def selector_text(selector: Object) -> str:
    """A label selector as ``a=b,c in (d,e)``."""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or ():
        key, operator = one.get("key", ""), one.get("operator")
        if operator in ("In", "NotIn"):
            word = "in" if operator == "In" else "notin"
            terms.append(f"{key} {word} ({','.join(sorted(one.get('values') or ()))})")
        else:
            terms.append(f"!{key}" if operator == "DoesNotExist" else key)
    return ",".join(terms)


def update_scale(
    registry: Registry,
    resource: Resource,
    namespace: str | None,
    name: str,
    change: Callable[[Object], Object],
    options: Options,
) -> Object:
    from aliquot.embedded import writing

    if resource.subresource("scale") is None:
        raise not_found(f"{resource.plural}/scale", resource.group, name)

    def scaled(old: Object) -> Object:
        scale = change(scale_of(resource, old))
        spec = scale.get("spec") if isinstance(scale, dict) else None
        replicas = spec.get("replicas", 0) if isinstance(spec, dict) else None
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
            cause = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise invalid("Scale", "autoscaling", name, [cause])
        version = (scale.get("metadata") or {}).get("resourceVersion")
        if version:
            old["metadata"]["resourceVersion"] = version
        old.setdefault("spec", {})["replicas"] = replicas
        return old

    return scale_of(resource, writing.update(registry, resource, namespace, name, scaled, options))
