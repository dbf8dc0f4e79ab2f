"""List requests: pages and continue tokens."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from aliquot.embedded.changes import Stored
from aliquot.embedded.resources import Resource
from aliquot.embedded.status import bad_request, expired
from aliquot.embedded.watching import Filter

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry


@dataclass(frozen=True, slots=True)
class Page:
    """``version`` is where a watch may start; ``remaining`` how many objects follow (None: not known)."""

    items: list[Stored]
    version: int
    continue_: str = ""
    remaining: int | None = None


class _Token(msgspec.Struct, frozen=True):
    version: int
    namespace: str
    name: str


def _encode(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _decode(text: str) -> _Token:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise bad_request("continue key is not valid: it is not a token of this server") from None


def page(
    registry: Registry, resource: Resource, selected: Filter, limit: int | None, continue_: str | None
) -> Page:
    """Objects in order of namespace and name.

    A later page shows the objects as they are when it is asked for but keeps the resourceVersion of the
    first page, so that a watch from there reports again what changed in between.
    """
    collection = registry.collection(resource)
    after = None
    version = registry.version
    if continue_:
        token = _decode(continue_)
        if token.version < registry.log(resource).compacted:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You can "
                "start a new list without the continue parameter."
            )
        after, version = (token.namespace, token.name), token.version
    candidates = collection.items(selected.namespace, after)
    if selected.everything:
        found = list(candidates)
    else:
        found = [one for one in candidates if selected.matches(one)]
    if not limit or len(found) <= limit:
        return Page(found, version)
    last = found[limit - 1]
    token_text = _encode(_Token(version, last.namespace, last.name))
    return Page(found[:limit], version, token_text, len(found) - limit if selected.everything else None)
