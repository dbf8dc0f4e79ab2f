"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386)."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from aliquot.embedded.hooks import Object
from aliquot.embedded.status import StatusError, bad_request

_MAX_OPERATIONS = 10_000
#: What all copy operations of one patch may add, in bytes of JSON: each could double the document.
_MAX_COPIED = 3 * 1024 * 1024


def _failed(message: str) -> StatusError:
    return StatusError(422, "Invalid", message)


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise bad_request(f"a JSON patch path must be a JSON pointer such as /spec/replicas, not {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _step(parent: Any, part: str, path: str) -> Any:
    if isinstance(parent, dict) and part in parent:
        return parent[part]
    if isinstance(parent, list) and part.isdigit() and int(part) < len(parent):
        return parent[int(part)]
    raise _failed(f"the server rejected our request due to an error in our request: {path} does not exist")


def _find(document: Any, parts: list[str], path: str) -> Any:
    for part in parts:
        document = _step(document, part, path)
    return document


def _index(parent: list[Any], part: str, path: str, *, insert: bool) -> int:
    if insert and part == "-":
        return len(parent)
    limit = len(parent) if insert else len(parent) - 1
    if not part.isdigit() or int(part) > limit:
        raise _failed(f"the server rejected our request due to an error in our request: no index at {path}")
    return int(part)


def _put(document: Any, parts: list[str], path: str, value: Any, *, replace: bool) -> Any:
    if not parts:
        return value
    parent = _find(document, parts[:-1], path)
    last = parts[-1]
    if isinstance(parent, dict):
        if replace and last not in parent:
            raise _failed(f"replace operation does not apply: doc is missing key: {path}: missing value")
        parent[last] = value
    elif isinstance(parent, list):
        index = _index(parent, last, path, insert=not replace)
        if replace:
            parent[index] = value
        else:
            parent.insert(index, value)
    else:
        raise _failed(f"{path} is neither in an object nor in an array")
    return document


def _remove(document: Any, parts: list[str], path: str) -> None:
    if not parts:
        raise _failed("the whole document cannot be removed")
    parent = _find(document, parts[:-1], path)
    if isinstance(parent, dict):
        if parts[-1] not in parent:
            raise _failed(f"remove operation does not apply: doc is missing path: {path}: missing value")
        del parent[parts[-1]]
    elif isinstance(parent, list):
        del parent[_index(parent, parts[-1], path, insert=False)]
    else:
        raise _failed(f"{path} is neither in an object nor in an array")


def apply(document: Object, operations: list[Any]) -> Object:
    """Apply the operations in order to ``document``, in place. Raises StatusError 400 or 422."""
    if len(operations) > _MAX_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            f"the allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(operations)}",
        )
    result: Any = document
    copied = 0
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("op"), str):
            raise bad_request("each operation of a JSON patch must be an object with op and path")
        name, path = operation["op"], operation.get("path")
        parts = _pointer(path)
        if name in ("add", "replace", "test") and "value" not in operation:
            raise bad_request(f"JSON patch operation {name} at {path} needs a value")
        if name in ("add", "replace"):
            value = copy.deepcopy(operation["value"])
            result = _put(result, parts, str(path), value, replace=name == "replace")
        elif name == "remove":
            _remove(result, parts, str(path))
        elif name == "test":
            if _find_or_none(result, parts) != operation["value"]:
                raise _failed(f"testing path {path} failed: the value is another one")
        elif name in ("copy", "move"):
            source = _pointer(operation.get("from"))
            value = copy.deepcopy(_find(result, source, str(operation.get("from"))))
            copied += len(msgspec.json.encode(value)) if name == "copy" else 0
            if copied > _MAX_COPIED:
                raise StatusError(
                    413,
                    "RequestEntityTooLarge",
                    f"the copy operations of a JSON patch may add {_MAX_COPIED} bytes at most",
                )
            if name == "move":
                _remove(result, source, str(operation.get("from")))
            result = _put(result, parts, str(path), value, replace=False)
        else:
            raise _failed(f"unexpected kind of JSON patch operation: {name}")
    if not isinstance(result, dict):
        raise _failed("the patched document is no object")
    return result


def _find_or_none(document: Any, parts: list[str]) -> Any:
    for part in parts:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def merge(document: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces. ``document`` is changed in place."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if not isinstance(document, dict):
        document = {}
    for key, value in patch.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = merge(document.get(key), value)
    return document
