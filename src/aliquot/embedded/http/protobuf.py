"""Protobuf request bodies, as kubectl's typed commands send them (``create configmap``, ``drain``).

Source: Kubernetes documentation, "Kubernetes Protobuf encoding" (the envelope), and the protobuf wire format.
Answers are JSON, which the same clients accept.
"""

from __future__ import annotations

import base64
import struct as binary
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from aliquot.embedded.hooks import Object
from aliquot.embedded.schemas import TABLES, structs
from aliquot.embedded.shapes import Field, ListOf, MapOf, Scalar, Shape, Struct
from aliquot.embedded.status import StatusError, bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
_MAX_DEPTH = 60


def _malformed() -> StatusError:
    return bad_request("the body is not valid Kubernetes protobuf")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _malformed()
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _wire(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their values: an integer, or the bytes of anything else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise _malformed()
        if at + length > len(data):
            raise _malformed()
        yield number, data[at : at + length]
        at += length


def _fields(data: int | bytes) -> dict[int, int | bytes]:
    return dict(_wire(_bytes(data)))


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _malformed()
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise _malformed()
    return value - 2**64 if value >= 2**63 else value


def _moment(value: int | bytes, micro: bool) -> str | None:
    parts = _fields(value)
    if not parts:
        return None
    seconds, nanos = _signed(parts.get(1, 0)), _signed(parts.get(2, 0))
    try:
        moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanos // 1000)
    except (ValueError, OverflowError, OSError):
        raise _malformed() from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _embedded_json(value: int | bytes) -> Any:
    raw = _fields(value).get(1)
    if not raw:
        return None
    try:
        return msgspec.json.decode(_bytes(raw))
    except msgspec.MsgspecError:
        raise _malformed() from None


def _scalar(name: str, value: int | bytes) -> Any:
    if name == "string":
        return _text(value)
    if name in ("int32", "int64"):
        return _signed(value)
    if name == "bool":
        return bool(value)
    if name == "number":
        raw = _bytes(value)
        if len(raw) != 8:
            raise _malformed()
        return binary.unpack("<d", raw)[0]
    if name == "bytes":
        return base64.b64encode(_bytes(value)).decode()
    if name in ("time", "microtime"):
        return _moment(value, name == "microtime")
    if name in ("raw", "any"):
        return _embedded_json(value)
    parts = _fields(value)
    if name == "quantity":
        return _text(parts.get(1, b"0"))
    if name == "intorstring":
        return _text(parts.get(3, b"")) if parts.get(1) else _signed(parts.get(2, 0))
    return f"{_signed(parts.get(1, 0))}ns"


def _value(shape: Shape, value: int | bytes, depth: int) -> Any:
    if isinstance(shape, Scalar):
        return _scalar(shape.name, value)
    if isinstance(shape, ListOf):
        return [_value(shape.item, one, depth + 1) for _, one in _wire(_bytes(value))]
    assert isinstance(shape, Struct)
    return _message(shape, _bytes(value), depth + 1)


def _message(struct: Struct, data: bytes, depth: int) -> Object:
    if depth > _MAX_DEPTH:
        raise bad_request("the body is nested too deep")
    shown_inline = {id(one) for inner in struct.inlined.values() for one in inner.fields.values()}
    by_number = {
        one.number: one for one in struct.fields.values() if one.number and id(one) not in shown_inline
    }
    found: Object = {}
    for number, value in _wire(data):
        if number in struct.inlined:
            found |= _message(struct.inlined[number], _bytes(value), depth + 1)
            continue
        one = by_number.get(number)
        if one is not None:
            _set(found, one, value, depth)
    return found


def _set(found: Object, one: Field, value: int | bytes, depth: int) -> None:
    """Add a value; an empty one that cannot be told from an absent one is left out."""
    shape = one.shape
    if isinstance(shape, ListOf):
        found.setdefault(one.name, []).append(_value(shape.item, value, depth))
    elif isinstance(shape, MapOf):
        entry = _fields(value)
        item = _value(shape.item, entry.get(2, b""), depth) if 2 in entry else ""
        found.setdefault(one.name, {})[_text(entry.get(1, b""))] = item
    else:
        made = _value(shape, value, depth)
        if made is not None and (made or one.nullable):
            found[one.name] = made


def decode(body: bytes) -> Object:
    """The object as JSON would have it. Raises StatusError 400 or 415."""
    if not body.startswith(_MAGIC):
        raise _malformed()
    envelope = _fields(body[len(_MAGIC) :])
    meta = _fields(envelope.get(1, b""))
    api_version, kind = _text(meta.get(1, b"")), _text(meta.get(2, b""))
    group, _, version = api_version.rpartition("/")
    if kind == "DeleteOptions":
        root = structs()["meta.DeleteOptions"]
    else:
        found = structs().get(f"{TABLES.get((group, version))}.{kind}")
        if found is None:
            raise StatusError(
                415, "UnsupportedMediaType", f"{api_version} {kind} is not accepted as protobuf; send JSON"
            )
        root = found
    return {"kind": kind, "apiVersion": api_version, **_message(root, _bytes(envelope.get(2, b"")), 0)}
