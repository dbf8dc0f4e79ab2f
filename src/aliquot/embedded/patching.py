"""The four patch types."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aliquot.embedded import applying, jsonpatch, strategic, writing
from aliquot.embedded.hooks import Object
from aliquot.embedded.resources import Resource
from aliquot.embedded.status import StatusError, bad_request

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

_TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
    "application/apply-patch+json": "apply",
}


def patch(
    registry: Registry,
    resource: Resource,
    namespace: str | None,
    name: str,
    patch_type: str,
    body: Any,
    options: writing.Options,
    subresource: str,
    force: bool,
) -> Object:
    """Apply ``body`` to the stored object and store the result; see :meth:`Registry.patch`."""
    kind = _TYPES.get(patch_type, patch_type)
    options = replace(options, patched=True)
    if kind == "json":
        if not isinstance(body, list):
            raise bad_request("a JSON patch must be an array of operations")
        operations = body
        return writing.update(
            registry,
            resource,
            namespace,
            name,
            lambda old: jsonpatch.apply(old, operations),
            options,
            subresource,
        )
    if kind == "merge" or (kind == "strategic" and not resource.custom):
        if not isinstance(body, dict):
            raise bad_request("a merge patch must be a JSON object")
        document: Object = body
        shape = resource.schema.root if resource.schema is not None else None
        change = (
            (lambda old: jsonpatch.merge(old, document))
            if kind == "merge"
            else (lambda old: strategic.merge(old, document, shape))
        )
        return writing.update(registry, resource, namespace, name, change, options, subresource)
    if kind == "apply":
        return applying.apply(registry, resource, namespace, name, body, options, subresource, force)
    raise StatusError(
        415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {patch_type}"
    )
