"""Snapshots on disk: each object once, a snapshot as the difference to the one before or in full."""

import sqlite3
import zlib
from collections.abc import Iterable

from aliquot.model.kinds import TYPES, decoder
from aliquot.model.meta import KubernetesObject
from aliquot.model.snapshot import Snapshot
from aliquot.store.digests import DIGEST_BYTES, Change, SnapshotDigests, digest_of, total

FULL_EVERY = 64
"""After this many differences a snapshot is stored in full, so that loading one reads few rows."""

MAX_OBJECT_BYTES = 16 * 1024 * 1024
"""A stored object that unpacks to more is taken for damage."""


class DamageError(Exception):
    """Something stored does not agree with its digest or cannot be read: `what`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def split(blob: bytes) -> list[bytes]:
    """The digests in a list of digests."""
    return [blob[start : start + DIGEST_BYTES] for start in range(0, len(blob), DIGEST_BYTES)]


class SnapshotWriter:
    """Writes the snapshots of one process, one after the other."""

    def __init__(self) -> None:
        self._digests = SnapshotDigests()
        self._last: tuple[int, int, bytes] | None = None

    def write(self, connection: sqlite3.Connection, snapshot: Snapshot) -> tuple[int, bytes]:
        """Store `snapshot` inside the open transaction; its row and digest.

        After a failure use a new writer.
        """
        change = self._digests.advance(snapshot)
        if self._last is not None and self._last[2] == change.digest:
            return self._last[0], change.digest
        connection.executemany(
            "INSERT OR IGNORE INTO objects (digest, kind, body) VALUES (?, ?, ?)",
            ((digest, type(item).__name__, zlib.compress(body, 6)) for digest, item, body in change.added),
        )
        base, depth, added, removed = self._shape(change)
        cursor = connection.execute(
            "INSERT INTO snapshots (digest, base, depth, added, removed) VALUES (?, ?, ?, ?, ?)",
            (change.digest, base, depth, added, removed),
        )
        row = int(cursor.lastrowid or 0)
        self._last = (row, depth, change.digest)
        return row, change.digest

    def _shape(self, change: Change) -> tuple[int | None, int, bytes, bytes]:
        if self._last is None or self._last[1] >= FULL_EVERY:
            return None, 0, b"".join(self._digests.all()), b""
        added = b"".join(sorted(digest for digest, _, _ in change.added))
        return self._last[0], self._last[1] + 1, added, b"".join(change.removed)


def members(connection: sqlite3.Connection, row: int) -> set[bytes]:
    """The digests of the objects of a stored snapshot. Raises DamageError."""
    chain: list[tuple[bytes, bytes]] = []
    wanted: int | None = row
    digest = b""
    while wanted is not None:
        found = connection.execute(
            "SELECT digest, base, added, removed FROM snapshots WHERE id = ?", (wanted,)
        ).fetchone()
        if found is None or (found[1] is not None and found[1] >= wanted):
            raise DamageError(f"snapshot {row} is based on snapshot {wanted}, which is not there")
        digest = digest or found[0]
        chain.append((found[2], found[3]))
        wanted = found[1]
    held: set[bytes] = set()
    for added, removed in reversed(chain):
        held.difference_update(split(removed))
        held.update(split(added))
    if total(held) != digest:
        raise DamageError(f"snapshot {row} does not add up to its digest")
    return held


def load(connection: sqlite3.Connection, row: int) -> Snapshot:
    """The stored snapshot. Raises DamageError."""
    return Snapshot.of(_objects(connection, sorted(members(connection, row))))


def _objects(connection: sqlite3.Connection, digests: Iterable[bytes]) -> Iterable[KubernetesObject]:
    for digest in digests:
        found = connection.execute("SELECT kind, body FROM objects WHERE digest = ?", (digest,)).fetchone()
        if found is None:
            raise DamageError(f"object {digest.hex()} is not there")
        kind, body = found[0], unpack(found[1], f"object {digest.hex()}")
        if digest_of(kind, body) != digest or kind not in TYPES:
            raise DamageError(f"object {digest.hex()} ({kind}) does not have the content of its digest")
        item: KubernetesObject = decoder(TYPES[kind]).decode(body)
        yield item


def unpack(blob: bytes, what: str) -> bytes:
    """Decompress `blob`, within bounds. Raises DamageError naming `what`."""
    try:
        stream = zlib.decompressobj()
        body = stream.decompress(blob, MAX_OBJECT_BYTES)
    except zlib.error as error:
        raise DamageError(f"{what} cannot be unpacked: {error}") from error
    if not stream.eof:
        raise DamageError(f"{what} is cut off or larger than {MAX_OBJECT_BYTES} bytes")
    return body


def forget_before(connection: sqlite3.Connection, row: int) -> None:
    """Delete the snapshots that neither `row` nor a later one is based on, and objects that none holds."""
    base = connection.execute(
        "SELECT max(id) FROM snapshots WHERE base IS NULL AND id <= ?", (row,)
    ).fetchone()
    if base is None or base[0] is None:
        return
    connection.execute("PRAGMA defer_foreign_keys = ON")
    connection.execute("DELETE FROM snapshots WHERE id < ?", (base[0],))
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS held (digest BLOB PRIMARY KEY) WITHOUT ROWID")
    connection.execute("DELETE FROM held")
    for (added,) in connection.execute("SELECT added FROM snapshots").fetchall():
        connection.executemany(
            "INSERT OR IGNORE INTO held VALUES (?)", ((digest,) for digest in split(added))
        )
    connection.execute("DELETE FROM objects WHERE digest NOT IN (SELECT digest FROM held)")
    connection.execute("DELETE FROM held")
