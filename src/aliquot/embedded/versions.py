"""Between the version in which a resource is served and the one in which its objects are kept."""

from __future__ import annotations

from typing import Any

from aliquot.embedded.hooks import Object
from aliquot.embedded.resources import Resource

#: Fields of events.k8s.io/v1 Event and their names in v1 Event.
_EVENT_FIELDS = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
_CORE_EVENT_FIELDS = {core: newer for newer, core in _EVENT_FIELDS.items()}


def _renamed(obj: Object, names: dict[str, str], api_version: str) -> Object:
    renamed: dict[str, Any] = {names.get(key, key): value for key, value in obj.items()}
    renamed["apiVersion"] = api_version
    return renamed


def to_stored(resource: Resource, obj: Object) -> Object:
    """The document as it is kept; ``obj`` is in the version of ``resource``."""
    if resource.key == "events":
        return _renamed(obj, _EVENT_FIELDS, resource.stored_version)
    return obj | {"apiVersion": resource.stored_version}


def from_stored(resource: Resource, obj: Object) -> Object:
    """The document in the version of ``resource``; ``obj`` is as it is kept."""
    if resource.key == "events":
        return _renamed(obj, _CORE_EVENT_FIELDS, resource.api_version)
    return obj | {"apiVersion": resource.api_version}
