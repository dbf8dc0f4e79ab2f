"""What a request is about, read from its path, as the API server does."""

from __future__ import annotations

from dataclasses import dataclass

from aliquot.embedded.resources import Resource, ResourceTable
from aliquot.embedded.status import StatusError

#: Paths under a namespace that belong to the Namespace itself.
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class Target:
    """A resource request: a collection (``name`` empty), an object, or a subresource of it."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def unknown_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def target_of(table: ResourceTable, path: str) -> Target:
    """Raises StatusError 404 where no such resource is served."""
    parts = [part for part in path.split("/") if part]
    if not parts or parts[0] not in ("api", "apis"):
        raise unknown_path()
    group = ""
    if parts[0] == "apis":
        if len(parts) < 4:
            raise unknown_path()
        group = parts[1]
        parts = parts[1:]
    if len(parts) < 3:
        raise unknown_path()
    version, rest = parts[1], parts[2:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    resource = table.find(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        raise unknown_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if name and resource.namespaced and not namespace:
        raise unknown_path()
    if subresource and resource.subresource(subresource) is None:
        raise unknown_path()
    return Target(resource, namespace, name, subresource)
