"""Server-side apply.

Merges what a manager declares, takes back what it no longer does, and refuses to overwrite others.

Source: Kubernetes documentation, "Server-Side Apply"; KEP-555.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aliquot.embedded import ownership, writing
from aliquot.embedded.fieldsets import FieldPath, FieldSet, child, is_granular, item_step, owned, shown
from aliquot.embedded.hooks import Object
from aliquot.embedded.metadata import timestamp
from aliquot.embedded.ownership import Owner
from aliquot.embedded.resources import Resource
from aliquot.embedded.shapes import Field, ListOf, Shape, Struct, copy_json
from aliquot.embedded.status import Cause, StatusError, bad_request, not_found

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

_BEFORE = "before-first-apply"


def apply(
    registry: Registry,
    resource: Resource,
    namespace: str | None,
    name: str,
    body: Any,
    options: writing.Options,
    subresource: str,
    force: bool,
) -> Object:
    config = _part(_config(resource, name, body, options), resource, subresource)
    root = ownership.root_of(resource)
    now = timestamp(registry.clock())
    wanted = frozenset(owned(config, root))
    manager = options.field_manager or "unknown"
    mine = Owner(manager, "Apply", resource.api_version, subresource, now, wanted)
    if registry.find(resource, namespace, name) is None:
        if subresource:
            raise not_found(resource.plural, resource.group, name)
        meta = config["metadata"]
        meta["name"] = name
        ownership.write(meta, [mine])
        return writing.create(registry, resource, namespace, config, options, managed=True)

    def change(live: Object) -> Object:
        return _merged(live, config, root, mine, force, resource)

    return writing.update(registry, resource, namespace, name, change, options, subresource, managed=True)


def _config(resource: Resource, name: str, body: Any, options: writing.Options) -> Object:
    if not isinstance(body, dict):
        raise bad_request("an apply configuration must be an object")
    for key in ("apiVersion", "kind"):
        if not body.get(key):
            raise bad_request(f"{key} must be set in an apply configuration")
    meta = body.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    quiet = writing.Options(options.user)
    conformed = writing.conform(resource, body, quiet, defaults=False)
    if conformed.unknown:
        fields = ", ".join(f".{path}: field not declared in schema" for path in conformed.unknown)
        kind = f"{resource.api_version}, Kind={resource.kind}"
        raise bad_request(f"failed to create typed patch object ({name}; {kind}): {fields}")
    return conformed.obj


def _part(config: Object, resource: Resource, subresource: str) -> Object:
    """What this request can write: the status alone, or all but it; the rest is neither merged nor owned."""
    if not resource.has_status:
        return config
    if subresource != "status":
        return {key: value for key, value in config.items() if key != "status"}
    kept = {
        key: value for key, value in config.items() if key in ("apiVersion", "kind", "metadata", "status")
    }
    identity = ("name", "namespace", "uid", "resourceVersion")
    kept["metadata"] = {key: value for key, value in kept["metadata"].items() if key in identity}
    return kept


def _merged(
    live: Object, config: Object, root: Shape | None, mine: Owner, force: bool, resource: Resource
) -> Object:
    owners = ownership.owners_of(live["metadata"])
    if not owners:
        everything = frozenset(owned(live, root))
        owners = [Owner(_BEFORE, "Update", resource.api_version, "", mine.time, everything)]
    previous = next((one for one in owners if one.identity == mine.identity), None)
    others = [one for one in owners if one is not previous]
    top = Field("", root) if isinstance(root, Struct) else None
    merged: Object = merge(live, config, top)
    before, after = owned(live, root), owned(merged, root)
    changed = frozenset(path for path in mine.fields if path in before and before[path] != after.get(path))
    clashes = [(one, sorted(one.fields & changed)) for one in others if one.fields & changed]
    if clashes and not force:
        raise _conflict(clashes)
    others = [replace(one, fields=one.fields - changed) for one in others]
    if previous is not None:
        kept = frozenset().union(*(one.fields for one in others)) | mine.fields
        given_up = previous.fields - kept
        merged = prune(merged, given_up, kept, top)
        still = frozenset(owned(merged, root))
        others = [replace(one, fields=one.fields & still) for one in others]
        if previous.fields == mine.fields and merged == live:
            mine = replace(mine, time=previous.time)
    meta = merged["metadata"]
    if not (config.get("metadata") or {}).get("resourceVersion"):
        meta.pop("resourceVersion", None)
    ownership.write(meta, [*others, mine])
    return merged


def _conflict(clashes: list[tuple[Owner, list[FieldPath]]]) -> StatusError:
    causes, parts = [], []
    for owner, paths in clashes:
        who = f'"{owner.manager}"'
        if owner.subresource:
            who += f' with subresource "{owner.subresource}"'
        if owner.operation == "Update":
            who += f" using {owner.api_version}" + (f" at {owner.time}" if owner.time else "")
        places = [shown(path) for path in paths]
        causes += [Cause("FieldManagerConflict", place, f"conflict with {who}") for place in places]
        if len(places) == 1:
            parts.append(f"conflict with {who}: {places[0]}")
        else:
            parts.append(f"conflicts with {who}:" + "".join(f"\n- {place}" for place in places))
    noun = "conflict" if len(causes) == 1 else "conflicts"
    message = f"Apply failed with {len(causes)} {noun}: " + "\n".join(parts)
    return StatusError(409, "Conflict", message, causes=causes)


def merge(live: Any, config: Any, one: Field | None) -> Any:
    """``live`` with what ``config`` says; lists merge as the schema says."""
    if is_granular(config, one) and isinstance(live, dict):
        shape = one.shape if one is not None else None
        result = dict(live)
        for key, value in config.items():
            result[key] = merge(live[key], value, child(shape, key)) if key in live else copy_json(value)
        return result
    if isinstance(config, list) and isinstance(live, list) and one is not None and one.list_type != "atomic":
        return _merge_lists(live, config, one)
    return copy_json(config)


def _merge_lists(live: list[Any], config: list[Any], one: Field) -> list[Any]:
    inner = Field("", one.shape.item) if isinstance(one.shape, ListOf) else None
    wanted = {item_step(item, one): item for item in config}
    result = []
    for item in live:
        step = item_step(item, one)
        given = wanted.pop(step, None)
        result.append(merge(item, given, inner) if given is not None and one.list_type == "map" else item)
    return result + [copy_json(item) for item in wanted.values()]


def prune(merged: Object, given_up: FieldSet, kept: FieldSet, top: Field | None) -> Object:
    """``merged`` without the paths that nobody owns any more."""
    holding = {path[:length] for path in kept for length in range(len(path) + 1)}

    def walk(value: Any, one: Field | None, path: FieldPath) -> Any:
        if is_granular(value, one):
            shape = one.shape if one is not None else None
            result: Object = {}
            for key, item in value.items():
                step = (*path, f"f:{key}")
                if step in given_up and step not in holding:
                    continue
                inner = walk(item, child(shape, key), step)
                emptied = inner in ({}, []) and item not in ({}, []) and step not in holding
                if not emptied:
                    result[key] = inner
            return result
        if isinstance(value, list) and one is not None and one.list_type != "atomic":
            inner_field = Field("", one.shape.item) if isinstance(one.shape, ListOf) else None
            kept_items = []
            for item in value:
                step = (*path, item_step(item, one))
                if step in given_up and step not in holding:
                    continue
                kept_items.append(walk(item, inner_field, step) if one.list_type == "map" else item)
            return kept_items
        return value

    result: Object = walk(merged, top, ())
    return result
