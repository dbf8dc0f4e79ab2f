"""Filling the embedded cluster: Aliquot's manifests and the objects of a fleet, as far as they are new."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from aliquot import manifests
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.registry import Registry
from aliquot.embedded.resources import Resource

Json = dict[str, Any]

DIGEST = "aliquot.dev/applied-digest"
"""Annotation: what an object was last written from. Equal digests need no write."""

FLEET = "aliquot.dev/fleet"
"""Annotation: the fleet that an object stands for a part of."""

FIELD_MANAGER = "aliquot-up"
_FLEET_KINDS = (("nodes", ""), ("resourceslices", "resource.k8s.io"), ("deviceclasses", "resource.k8s.io"))


class Filled(msgspec.Struct):
    """How many objects were written and deleted, and how many were as they should be."""

    created: int = 0
    changed: int = 0
    deleted: int = 0
    kept: int = 0


def fill(registry: Registry, fleet_name: str, fleet_objects: Iterable[Json]) -> Filled:
    """Bring manifests and fleet into the registry; objects of an earlier fleet that are gone are deleted.

    What people changed in these objects since stays until the object they come from changes.
    """
    filled = Filled()
    with registry.bulk():
        for document in manifests.load():
            _apply(registry, document, {}, filled)
    wanted: set[tuple[str, str]] = set()
    with registry.bulk():
        for document in fleet_objects:
            wanted.add((document["kind"], document["metadata"]["name"]))
            _apply(registry, document, {FLEET: fleet_name}, filled)
        for plural, group in _FLEET_KINDS:
            resource = registry.resources.named(plural, group)
            for stored in list(registry.collection(resource).items()):
                metadata = registry.decode(resource, stored)["metadata"]
                ours = FLEET in (metadata.get("annotations") or {})
                if ours and (resource.kind, metadata["name"]) not in wanted:
                    registry.delete(resource, None, metadata["name"], SYSTEM, grace_period=0)
                    filled.deleted += 1
    return filled


def _apply(registry: Registry, document: Json, annotations: dict[str, str], filled: Filled) -> None:
    resource = registry.resources.find_kind(document["apiVersion"], document["kind"])
    if resource is None:
        raise LookupError(f"the embedded cluster does not serve {document['apiVersion']} {document['kind']}")
    content = json.dumps(document, sort_keys=True).encode()
    digest = hashlib.blake2b(content, digest_size=12).hexdigest()
    metadata = document["metadata"]
    noted = {**(metadata.get("annotations") or {}), **annotations, DIGEST: digest}
    document = {**document, "metadata": {**metadata, "annotations": noted}}
    namespace = metadata.get("namespace") if resource.namespaced else None
    found = registry.find(resource, namespace, metadata["name"])
    if found is None:
        registry.create(resource, namespace, document, SYSTEM, field_manager=FIELD_MANAGER)
        filled.created += 1
    elif (found["metadata"].get("annotations") or {}).get(DIGEST) != digest:
        _change(registry, resource, namespace, document)
        filled.changed += 1
    else:
        filled.kept += 1


def _change(registry: Registry, resource: Resource, namespace: str | None, document: Json) -> None:
    name = document["metadata"]["name"]
    registry.patch(
        resource, namespace, name, "apply", document, SYSTEM, force=True, field_manager=FIELD_MANAGER
    )
    if "status" in document and resource.has_status:
        status = {"status": document["status"]}
        registry.patch(resource, namespace, name, "merge", status, SYSTEM, subresource="status")
