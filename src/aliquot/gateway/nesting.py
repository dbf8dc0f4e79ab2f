"""How deep agents call agents: a mark on each answer to an agent, to be handed on with the work.

The answer to an agent's call has the header `x-aliquot-call`. An agent that has another one do something
hands it on, and the other sends it as `x-aliquot-parent` with its calls: these are one deeper, and count in
the task that the chain began with. The mark is signed by the gateway, so a caller can leave it out but not
make it say less. Tokens that issuers exchange (RFC 8693) tell it whether or not anybody hands on anything:
each actor inside of an actor (`act`) is one deeper.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from aliquot.gateway.answers import failure
from aliquot.store.budgets import Clock

PARENT = b"x-aliquot-parent"
VALID_SECONDS = 24 * 3600
MAX_BYTES = 2048
MAX_DEPTH = 64
_DIGEST_BYTES = 16


class Lineage(msgspec.Struct, frozen=True):
    """Where in a chain of agents a call is. depth: agents above. task: the session that the chain began with,
    "" for the caller's own."""

    depth: int = 0
    task: str = ""


class _Mark(msgspec.Struct, frozen=True, array_like=True):
    expires_s: int
    depth: int
    task: str


_mark = msgspec.json.Decoder(_Mark)


class Nesting:
    """Signs marks and reads them. secret: the same for all gateways of one group."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def mark(self, lineage: Lineage) -> bytes:
        """What the answer to a call carries."""
        expires = self._clock() // 1_000_000 + VALID_SECONDS
        body = msgspec.json.encode(_Mark(expires, lineage.depth, lineage.task))
        return urlsafe_b64encode(self._signature(body) + body).rstrip(b"=")

    def below(self, mark: bytes | None, depth: int, session: str) -> Lineage:
        """Where a call is that came with this mark. depth: what its credential says; session: its own.

        Raises CallError for a mark that no gateway of this group gave, or that has expired.
        """
        if mark is None:
            return Lineage(depth, session)
        found = self._read(mark)
        if found is None or found.expires_s <= self._clock() // 1_000_000:
            raise failure(
                400,
                "x-aliquot-parent is no x-aliquot-call of this gateway, or has expired; "
                "leave it out to begin a task of your own",
                code="invalid_parent",
            )
        return Lineage(max(depth, min(found.depth + 1, MAX_DEPTH)), found.task)

    def _read(self, mark: bytes) -> _Mark | None:
        if len(mark) > MAX_BYTES:
            return None
        try:
            content = urlsafe_b64decode(mark + b"=" * (-len(mark) % 4))
        except ValueError:
            return None
        signature, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if not hmac.compare_digest(signature, self._signature(body)):
            return None
        try:
            return _mark.decode(body)
        except msgspec.DecodeError:
            return None

    def _signature(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, digest_size=_DIGEST_BYTES, key=self._secret).digest()


def depth_of(claims: Mapping[str, Any]) -> int:
    """How many actors stand above the one that a token was made for: `act` within `act` (RFC 8693, 4.1)."""
    depth = -1
    actor = claims.get("act")
    while isinstance(actor, Mapping) and depth < MAX_DEPTH:
        depth += 1
        actor = actor.get("act")
    return max(0, depth)
