"""The variables, types and functions of admission policies (k8s.io/apiserver admission/plugin/cel)."""

from __future__ import annotations

from typing import Any, Final

from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.instants import Timestamp
from aliquot.cel.typesystem import DYN, STRING, Type, parse_type
from aliquot.cel.values import WORK, ObjectValue, to_json

__all__ = [
    "ADMISSION_FIELDS",
    "COMPOSITION",
    "JSON_PATCH",
    "apply_configuration",
    "convert_namespace",
    "is_constructible",
]


def _fields(text: str) -> dict[str, Type]:
    """Fields written as `name: type` separated by semicolons."""
    pairs = (line.split(":", 1) for line in text.split(";") if line.strip())
    return {name.strip(): parse_type(kind.strip()) for name, kind in pairs}


COMPOSITION: Final = "kubernetes.variables"
"""The type of `variables`; its fields are those a policy declares."""

ADMISSION_FIELDS: Final[dict[str, dict[str, Type]]] = {
    "kubernetes.GroupVersionKind": _fields("group: string; version: string; kind: string"),
    "kubernetes.GroupVersionResource": _fields("group: string; version: string; resource: string"),
    "kubernetes.UserInfo": _fields(
        "username: string; uid: string; groups: list<string>; extra: map<string, list<string>>"
    ),
    "kubernetes.AdmissionRequest": _fields(
        "kind: kubernetes.GroupVersionKind; resource: kubernetes.GroupVersionResource; subResource: string; "
        "requestKind: kubernetes.GroupVersionKind; requestResource: kubernetes.GroupVersionResource; "
        "requestSubResource: string; name: string; namespace: string; operation: string; "
        "userInfo: kubernetes.UserInfo; dryRun: bool; options: dyn"
    ),
    "kubernetes.NamespaceSpec": _fields("finalizers: list<string>"),
    "kubernetes.NamespaceCondition": _fields(
        "status: string; type: string; lastTransitionTime: timestamp; message: string; reason: string"
    ),
    "kubernetes.NamespaceStatus": _fields("conditions: list<kubernetes.NamespaceCondition>; phase: string"),
    "kubernetes.NamespaceMetadata": _fields(
        "name: string; generateName: string; namespace: string; labels: map<string, string>; "
        "annotations: map<string, string>; UID: string; creationTimestamp: timestamp; "
        "deletionGracePeriodSeconds: int; deletionTimestamp: timestamp; generation: int; "
        "resourceVersion: string; finalizers: list<string>"
    ),
    "kubernetes.Namespace": _fields(
        "metadata: kubernetes.NamespaceMetadata; spec: kubernetes.NamespaceSpec; "
        "status: kubernetes.NamespaceStatus"
    ),
    "JSONPatch": {"op": STRING, "path": STRING, "from": STRING, "value": DYN},
}


def is_constructible(name: str) -> bool:
    """Whether mutations may build an object of this type: `Object`, `Object.spec...`, `JSONPatch`."""
    return name in ("JSONPatch", "Object") or name.startswith("Object.")


def _escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _json_patch() -> Library:
    library = Library()
    library.free("jsonpatch.escapeKey", "string_jsonpatch_escapeKey_string", "string -> string", _escape_key)
    return library


JSON_PATCH: Final = _json_patch()


def convert_namespace(namespace: Any) -> Any:
    """A Namespace in JSON with its times as timestamps, for the declared types of its fields."""
    if not isinstance(namespace, dict):
        return namespace
    result = dict(namespace)
    if isinstance(metadata := result.get("metadata"), dict):
        result["metadata"] = _with_times(metadata, "creationTimestamp", "deletionTimestamp")
        if "uid" in metadata:
            result["metadata"]["UID"] = metadata["uid"]
    if isinstance(status := result.get("status"), dict) and isinstance(status.get("conditions"), list):
        conditions = [_with_times(each, "lastTransitionTime") for each in status["conditions"]]
        result["status"] = {**status, "conditions": conditions}
    return result


def _with_times(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    result = dict(fields)
    for name in names:
        if isinstance(text := result.get(name), str):
            try:
                result[name] = Timestamp.parse(text)
            except ValueError as error:
                raise EvaluationError(f"namespaceObject: {name}: {error}") from None
    return result


def apply_configuration(value: Any) -> dict[str, Any]:
    """The JSON of an `Object{...}`; raise EvaluationError if a field holds an object of another field's type.

    Kubernetes checks that in `Object{spec: Object.spec{...}}` each type's name is the path of its field.
    """
    if not isinstance(value, ObjectValue):
        raise EvaluationError("an apply configuration must evaluate to Object")
    _check_names(value, value.type_name)
    result = to_json(value)
    assert isinstance(result, dict)
    return result


def _check_names(value: Any, path: str) -> None:
    if isinstance(value, ObjectValue):
        if value.type_name != path:
            raise EvaluationError(
                f'unexpected type name "{value.type_name}", expected "{path}", which matches field name path '
                "from root Object type"
            )
        WORK.spend(len(value))
        for name, field in value.items():
            _check_names(field, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        WORK.spend(len(value))
        for element in value:
            _check_names(element, path)
    elif isinstance(value, dict):
        WORK.spend(len(value))
        for entry in value.values():
            _check_names(entry, path)
