"""Digests of objects and snapshots.

An object's digest is BLAKE2b-256 over its kind and its JSON with sorted keys. A snapshot's digest is the sum
of its objects' digests modulo 2**256, so it does not depend on order, and after a change only the changed
objects are hashed: digest' = digest - removed + added. It tells snapshots apart and finds damage; it is no
defence against somebody who constructs colliding objects.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from aliquot.model.kinds import encode_json
from aliquot.model.meta import KubernetesObject
from aliquot.model.snapshot import FIELDS, Snapshot

DIGEST_BYTES = 32
_MODULUS = 1 << (8 * DIGEST_BYTES)


def digest_of(kind: str, body: bytes) -> bytes:
    """The digest of an object of `kind` whose JSON is `body`."""
    return hashlib.blake2b(kind.encode() + b"\0" + body, digest_size=DIGEST_BYTES).digest()


def total(digests: Iterable[bytes]) -> bytes:
    """The digest of a snapshot that holds objects with these digests."""
    value = sum(int.from_bytes(digest, "big") for digest in digests) % _MODULUS
    return value.to_bytes(DIGEST_BYTES, "big")


class Change(msgspec.Struct, frozen=True):
    """What is different from the snapshot before. `added` carries the new objects with their JSON."""

    digest: bytes
    added: tuple[tuple[bytes, KubernetesObject, bytes], ...]
    removed: tuple[bytes, ...]


class SnapshotDigests:
    """Follows a series of snapshots and hashes only what is new in each.

    Objects are remembered by identity; the snapshot seen last is kept, so no identity is used again while
    it is remembered.
    """

    def __init__(self) -> None:
        self._last = Snapshot()
        self._by_identity: dict[int, bytes] = {}
        self._sum = 0

    def advance(self, snapshot: Snapshot) -> Change:
        """The change from the snapshot given before (at first: the empty one) to this one."""
        added: list[tuple[bytes, KubernetesObject, bytes]] = []
        gone: set[bytes] = set()
        for field in FIELDS.values():
            before: tuple[KubernetesObject, ...] = getattr(self._last, field)
            after: tuple[KubernetesObject, ...] = getattr(snapshot, field)
            if before is after:
                continue
            kept = {id(item) for item in after}
            for item in before:
                if id(item) not in kept:
                    gone.add(self._by_identity.pop(id(item)))
            for item in after:
                if id(item) not in self._by_identity:
                    body = encode_json(item)
                    digest = digest_of(type(item).__name__, body)
                    self._by_identity[id(item)] = digest
                    added.append((digest, item, body))
        # An object that was decoded again without any change is both gone and new: it stays.
        same = {digest for digest, _, _ in added} & gone
        change_added = tuple(entry for entry in added if entry[0] not in same)
        removed = tuple(sorted(gone - same))
        for digest, _, _ in change_added:
            self._sum += int.from_bytes(digest, "big")
        for digest in removed:
            self._sum -= int.from_bytes(digest, "big")
        self._sum %= _MODULUS
        self._last = snapshot
        return Change(self._sum.to_bytes(DIGEST_BYTES, "big"), change_added, removed)

    def all(self) -> tuple[bytes, ...]:
        """The digests of all objects of the snapshot seen last, sorted."""
        return tuple(sorted(self._by_identity.values()))


def snapshot_digest(snapshot: Snapshot) -> bytes:
    """The digest of one snapshot by itself."""
    return SnapshotDigests().advance(snapshot).digest


def chain_of(before: bytes, body: bytes) -> bytes:
    """The chain value of a journal entry with this body behind an entry with the chain value `before`."""
    return hashlib.blake2b(before + body, digest_size=16).digest()
