"""Checking manifests as an API server would: unknown fields, wrong types and values, names.

The schemas are those of the embedded cluster, so `plan` refuses what `kubectl apply` to it would refuse.
"""

import copy
import difflib
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aliquot import manifests
from aliquot.cli.manifests import Document, InputError
from aliquot.embedded import metadata
from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.customresources.definitions import resources_of
from aliquot.embedded.kinds import behavior_of
from aliquot.embedded.resources import Resource, ResourceTable
from aliquot.embedded.schemas import kind_schema
from aliquot.embedded.shapes import ListOf, MapOf, Shape, Struct
from aliquot.embedded.status import StatusError
from aliquot.model.kinds import API_VERSIONS, KINDS, kind_of

FLEET = "Fleet"
FLEET_VERSION = "aliquot.dev/v1alpha1"
_SERVED_ELSEWHERE = (
    "PersistentVolume",
    "PersistentVolumeClaim",
    "StorageClass",
    "Ingress",
    "NetworkPolicy",
    "HorizontalPodAutoscaler",
    "Endpoints",
    "EndpointSlice",
    "LimitRange",
    "ResourceQuota",
    "RuntimeClass",
    "PodTemplate",
    "ReplicationController",
    "CSINode",
    "CSIDriver",
    "VolumeAttachment",
    "APIService",
    "FlowSchema",
    "PriorityLevelConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
    "ControllerRevision",
    "Binding",
    "ComponentStatus",
)
"""Kinds of Kubernetes' own groups that neither `plan` nor the embedded cluster has a use for."""


@cache
def _table() -> ResourceTable:
    table = ResourceTable()
    for document in manifests.load():
        if document["kind"] == "CustomResourceDefinition":
            for resource in resources_of(document):
                table.add(resource)
    return table


def known_kinds() -> tuple[str, ...]:
    """Every kind that is known by name."""
    served = {resource.kind for resource in _table()}
    return tuple(sorted(served | set(KINDS) | {FLEET, *_SERVED_ELSEWHERE}))


def check(document: Document) -> dict[str, Any] | None:
    """The document with defaults filled in; None for a kind that a plan does not depend on.

    Raises InputError for one that cannot be.
    """
    value = document.value
    api_version, kind = value.get("apiVersion"), value.get("kind")
    for field, found in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(found, str) or not found:
            raise document.error(field, "is missing", f"every manifest needs {field}, as in `{field}: ...`")
    assert isinstance(api_version, str)
    assert isinstance(kind, str)
    resource = _table().find_kind(api_version, kind)
    if resource is None:
        _check_kind(document, api_version, kind)
        return value if kind in KINDS else None
    checked = _conform(document, resource)
    return checked if kind in KINDS or kind in _OWNERS else None


_OWNERS = ("Deployment", "ReplicaSet", "StatefulSet")


def _check_kind(document: Document, api_version: str, kind: str) -> None:
    """Kinds of Kubernetes' own and of Aliquot's groups have to exist; of other groups nothing is known."""
    if kind_of(api_version, kind) is not None:
        return
    if kind in KINDS:
        versions = API_VERSIONS[KINDS[kind]]
        raise document.error(
            "apiVersion", f"{kind} is not read as {api_version}", f"write {' or '.join(versions)}"
        )
    group = api_version.rpartition("/")[0]
    own = not group or "." not in group or group.endswith((".k8s.io", "aliquot.dev"))
    if not own or kind in _SERVED_ELSEWHERE:
        return
    known = {resource.kind: resource.api_version for resource in _table()}
    if kind in known:
        raise document.error("apiVersion", f"there is no {kind} in {api_version}", f"write {known[kind]}")
    raise document.error("kind", f"there is no kind {kind!r} in {api_version}", _meant(kind, known_kinds()))


def _meant(word: str, known: Iterable[str]) -> str:
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lower, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(lower[name] for name in near)}?"
    return "check its spelling"


def _conform(document: Document, resource: Resource) -> dict[str, Any]:
    schema = kind_schema(resource.group, resource.version, resource.kind) or resource.schema
    if schema is None:
        return document.value
    try:
        conformed = schema.conform(document.value)
    except StatusError as error:
        path = _path_in(error.message, document)
        raise document.error(path, _shortened(error.message), "write a value of the right type") from None
    if conformed.unknown:
        path = conformed.unknown[0]
        outer, _, name = path.rpartition(".")
        raise document.error(path, f"unknown field {name!r}", _meant(name, _fields(schema.root, outer)))
    causes = list(conformed.causes)
    if not causes:
        try:
            causes = schema.rule_causes(conformed.obj, None)
            behavior = behavior_of(resource.key)
            behavior.default(conformed.obj)
            if not _saved(document.value):
                rule = metadata.subdomain_error if resource.custom else behavior.name_rule
                meta = {"namespace": "default", **conformed.obj.get("metadata", {})}
                causes += metadata.validate(meta, rule, resource.namespaced)
                causes += behavior.validate(_as_created(conformed.obj, behavior))
        except StatusError as error:
            raise document.error("", error.message, "see the API reference of the kind") from None
    if causes:
        cause = causes[0]
        raise document.error(cause.field, cause.message, "see the API reference of the kind")
    return {"apiVersion": resource.api_version, "kind": resource.kind, **conformed.obj}


def _saved(value: dict[str, Any]) -> bool:
    """It comes from a cluster, which has looked at it already."""
    return bool((value.get("metadata") or {}).get("resourceVersion"))


def _as_created(obj: dict[str, Any], behavior: Behavior) -> dict[str, Any]:
    """What the server would hold at first: with the fields that it sets itself, without status."""
    made = copy.deepcopy(obj)
    made.setdefault("metadata", {}).setdefault("uid", "00000000-0000-4000-8000-000000000000")
    behavior.on_create(made, Moment(datetime(2000, 1, 1, tzinfo=UTC)))
    return made


def _path_in(message: str, document: Document) -> str:
    """The field that a decoding error speaks of: `... Go struct field Pod.spec.nodeName of type string`."""
    _, _, rest = message.partition("struct field ")
    path = rest.partition(" of type ")[0].partition(".")[2]
    if path:
        return path
    for candidate in document.lines:
        if candidate and f": {candidate}: " in message:
            return candidate
    return ""


def _shortened(message: str) -> str:
    return (
        message.rpartition("json: ")[2].partition(" into Go struct field")[0].rpartition(": ")[2] or message
    )


def _fields(root: Shape, path: str) -> Iterable[str]:
    """The names of the fields at a path of a schema."""
    shape: Shape = root
    for piece in [piece for piece in path.replace("[", ".[").split(".") if piece]:
        if isinstance(shape, (ListOf, MapOf)):
            shape = shape.item
        elif isinstance(shape, Struct) and piece in shape.fields:
            shape = shape.fields[piece].shape
        else:
            return ()
    return tuple(shape.fields) if isinstance(shape, Struct) else ()


def failure(document: Document, kind: str, path: str, problem: str) -> InputError:
    """An error of the typed model as one of the file."""
    return document.error(path, f"{kind}: {problem}", "see the API reference of the kind")
