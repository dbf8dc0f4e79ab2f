"""Request bodies: bounded, decoded from JSON or YAML, with the places of repeated fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml
from starlette.requests import Request

from aliquot.embedded.http import protobuf
from aliquot.embedded.status import StatusError, bad_request

#: The limit that the API server has for a request body.
MAX_BYTES = 3 * 1024 * 1024
MAX_DEPTH = 100


async def read(request: Request) -> bytes:
    """The body. Raises StatusError 413 beyond 3 MiB."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BYTES:
            raise StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BYTES}")
        chunks.append(chunk)
    return b"".join(chunks)


class _Repeated(dict[str, Any]):
    """An object in which keys occurred more than once; the last value counts."""

    repeated: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    seen: set[str] = set()
    found = _Repeated(made)
    found.repeated = tuple(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return found


def _repeated_paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value, _Repeated):
            for key in value.repeated:
                yield f"{path}.{key}" if path else key
        for key, item in value.items():
            yield from _repeated_paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated_paths(item, f"{path}[{index}]")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following.extend(one for one in item.values() if isinstance(one, (dict, list)))
            elif isinstance(item, list):
                following.extend(one for one in item if isinstance(one, (dict, list)))
        if not following:
            return
        level = following
    raise bad_request(f"the body is nested more than {MAX_DEPTH} levels deep")


def decode(body: bytes, content_type: str, *, repeated: list[str] | None = None) -> Any:
    """The document. ``repeated`` collects the paths of fields given twice. Raises StatusError 400 or 415."""
    media = content_type.partition(";")[0].strip().lower()
    if media == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    if media.endswith(("yaml", "+yaml")):
        return _decode_yaml(body)
    if media not in ("", "application/json", "*/*") and not media.endswith("+json"):
        raise StatusError(
            415,
            "UnsupportedMediaType",
            f"the body of the request was in an unknown format - accepted media types include: "
            f"application/json, application/yaml (got {media})",
        )
    try:
        if repeated is None:
            value = msgspec.json.decode(body)
        else:
            value = json.loads(body, object_pairs_hook=_pairs, parse_constant=_no_constant)
            repeated.extend(_repeated_paths(value))
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise bad_request(f"the body is not valid JSON: {error}") from None
    if body.count(b"{") + body.count(b"[") >= MAX_DEPTH:
        _check_depth(value)
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON value")


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _decode_yaml(body: bytes) -> Any:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        value = _from_yaml(body)
    if body.count(b"{") + body.count(b"[") >= MAX_DEPTH or body.count(b"\n") >= MAX_DEPTH:
        _check_depth(value)
    return value


def _from_yaml(body: bytes) -> Any:
    """Anchors are refused: a few lines of them can stand for gigabytes."""
    try:
        for event in yaml.parse(body, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise bad_request("YAML aliases are not accepted in a request body; write the value out")
        return _text_keys(yaml.load(body, Loader=_Loader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise bad_request(f"error decoding YAML: {error}") from None


def _text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else json.dumps(key): _text_keys(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_text_keys(item) for item in value]
    return value
