"""Object metadata: what the server fills in, what a request may not change, and what names look like.

Source: Kubernetes API conventions, "Metadata", and the object names documentation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, forbidden_field, invalid_value, required

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_ANNOTATION_BYTES = 256 * 1024

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
    r"validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
    "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_NAME_PART_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation "
    "is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
    "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as metav1.Time is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str, uid: str) -> str:
    """``generateName`` plus five letters; the same uid gives the same name."""
    digest = hashlib.sha256(uid.encode()).digest()
    suffix = "".join(_SUFFIX_LETTERS[byte % len(_SUFFIX_LETTERS)] for byte in digest[:5])
    return prefix[:58] + suffix


def label_name_error(name: str) -> str | None:
    """What is wrong with a DNS label (at most 63 characters), or None."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    return None if _LABEL.fullmatch(name) else _LABEL_RULE


def subdomain_error(name: str) -> str | None:
    """What is wrong with a DNS subdomain (at most 253 characters), or None."""
    if len(name) > 253:
        return "must be no more than 253 characters"
    return None if _SUBDOMAIN.fullmatch(name) else _SUBDOMAIN_RULE


def path_segment_error(name: str) -> str | None:
    """RBAC names may hold more than DNS names; they only have to fit into a URL path."""
    if name in (".", ".."):
        return f"may not be '{name}'"
    for bad in ("/", "%"):
        if bad in name:
            return f"may not contain '{bad}'"
    return None


NameRule = Callable[[str], str | None]


def qualified_name_error(key: str) -> str | None:
    """What is wrong with a label or annotation key such as ``example.com/name``, or None."""
    prefix, slash, name = key.rpartition("/")
    if slash and not prefix:
        return "prefix part must be non-empty"
    if slash and (error := subdomain_error(prefix)):
        return f"prefix part {error}"
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    return None if _KEY_NAME.fullmatch(name) else _NAME_PART_RULE


def label_value_error(value: str) -> str | None:
    if len(value) > 63:
        return "must be no more than 63 characters"
    return None if not value or _KEY_NAME.fullmatch(value) else _VALUE_RULE


def label_causes(labels: dict[str, str], path: str) -> list[Cause]:
    causes = []
    for key, value in labels.items():
        if error := qualified_name_error(key):
            causes.append(invalid_value(path, key, error))
        if error := label_value_error(value):
            causes.append(invalid_value(path, value, error))
    return causes


def validate(meta: dict[str, Any], name_rule: NameRule, namespaced: bool) -> list[Cause]:
    """What is wrong with an object's metadata."""
    causes: list[Cause] = []
    name = meta.get("name") or ""
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    elif error := name_rule(name):
        causes.append(invalid_value("metadata.name", name, error))
    if namespaced and (error := label_name_error(meta.get("namespace") or "")):
        causes.append(invalid_value("metadata.namespace", meta.get("namespace"), error))
    if labels := meta.get("labels"):
        causes += label_causes(labels, "metadata.labels")
    if annotations := meta.get("annotations"):
        size = 0
        for key, value in annotations.items():
            size += len(key) + len(value)
            if error := qualified_name_error(key.lower()):
                causes.append(invalid_value("metadata.annotations", key, error))
        if size > _ANNOTATION_BYTES:
            causes.append(
                Cause(
                    "FieldValueTooLong", "metadata.annotations", "Too long: may not be more than 262144 bytes"
                )
            )
    for owner in meta.get("ownerReferences") or ():
        for part in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(part):
                path = f"metadata.ownerReferences.{part}"
                causes.append(invalid_value(path, owner.get(part, ""), "must not be empty"))
    for index, finalizer in enumerate(meta.get("finalizers") or ()):
        if error := qualified_name_error(finalizer):
            causes.append(invalid_value(f"metadata.finalizers[{index}]", finalizer, error))
    controllers = [owner for owner in meta.get("ownerReferences") or () if owner.get("controller")]
    if len(controllers) > 1:
        why = "Only one reference can have Controller set to true"
        causes.append(
            invalid_value("metadata.ownerReferences", [owner.get("name") for owner in controllers], why)
        )
    return causes


_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)
_NOT_IN_STATUS_WRITES = ("labels", "annotations", "ownerReferences", "finalizers")


def fill_on_create(meta: dict[str, Any], uid: str, now: str, generation: bool) -> None:
    for key in (*_SERVER_OWNED, "resourceVersion"):
        meta.pop(key, None)
    meta["uid"] = uid
    meta["creationTimestamp"] = now
    if generation:
        meta["generation"] = 1


def keep_on_update(meta: dict[str, Any], old: dict[str, Any], *, status_only: bool) -> None:
    """Put back what a request cannot change; a status request changes nothing but managedFields."""
    keys = _SERVER_OWNED + _NOT_IN_STATUS_WRITES if status_only else _SERVER_OWNED
    for key in (*keys, "name", "namespace", "generateName"):
        if key in old:
            meta[key] = old[key]
        else:
            meta.pop(key, None)


def finalizer_causes(meta: dict[str, Any]) -> list[Cause]:
    """Finalizers of built-in kinds are qualified names, but for those of Kubernetes itself."""
    why = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        invalid_value(f"metadata.finalizers[{index}]", name, why)
        for index, name in enumerate(meta.get("finalizers") or ())
        if "/" not in name and name not in _STANDARD_FINALIZERS and qualified_name_error(name) is None
    ]


def validate_update(meta: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    if not old.get("deletionTimestamp"):
        return []
    known = old.get("finalizers") or ()
    if added := [name for name in meta.get("finalizers") or () if name not in known]:
        listed = ", ".join(f'"{name}"' for name in added)
        why = (
            "no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{listed}}}"
        )
        return [forbidden_field("metadata.finalizers", why)]
    return []


def ordered(obj: Object) -> Object:
    """The document with apiVersion, kind, metadata in front, as people expect to read it."""
    front = {key: obj[key] for key in ("apiVersion", "kind", "metadata") if key in obj}
    return front | obj
