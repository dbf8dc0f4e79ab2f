"""Checks that a journal still says what was written: the file, the entries' chain, objects and snapshots."""

import sqlite3
from collections.abc import Iterator

from aliquot.store.digests import chain_of, digest_of, total
from aliquot.store.snapshots import DamageError, split, unpack


def problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Everything that is wrong, in words; nothing when the journal is sound."""
    try:
        yield from _file(connection)
        yield from _chain(connection)
        yield from _objects(connection)
        yield from _snapshots(connection)
        yield from _records(connection)
    except sqlite3.DatabaseError as error:
        yield f"the file cannot be read on: {error}"


def _file(connection: sqlite3.Connection) -> Iterator[str]:
    for (line,) in connection.execute("PRAGMA integrity_check(20)"):
        if line != "ok":
            yield f"file: {line}"


def _chain(connection: sqlite3.Connection) -> Iterator[str]:
    chain = bytes(connection.execute("SELECT chain FROM chain_start").fetchone()[0])
    for identity, body, stored in connection.execute(
        "SELECT id, CAST(body AS BLOB), chain FROM entries ORDER BY id"
    ):
        if chain_of(chain, body) != stored:
            yield f"entry {identity}: it, or one before it, is not as it was written"
        chain = bytes(stored)


def _objects(connection: sqlite3.Connection) -> Iterator[str]:
    for digest, kind, body in connection.execute("SELECT digest, kind, body FROM objects"):
        try:
            content = unpack(body, "content")
        except DamageError as error:
            yield f"object {digest.hex()}: {error}"
            continue
        if digest_of(kind, content) != digest:
            yield f"object {digest.hex()}: its content has another digest"


def _snapshots(connection: sqlite3.Connection) -> Iterator[str]:
    stored = {bytes(digest) for (digest,) in connection.execute("SELECT digest FROM objects")}
    held: set[bytes] = set()
    last = 0
    for row, digest, base, added, removed in connection.execute(
        "SELECT id, digest, base, added, removed FROM snapshots ORDER BY id"
    ):
        if base is None:
            held = set(split(added))
        elif base != last:
            yield f"snapshot {row}: is based on snapshot {base}, which is not the one before it"
            held = set()
        else:
            held = (held - set(split(removed))) | set(split(added))
        last = row
        if total(held) != digest:
            yield f"snapshot {row}: does not add up to its digest"
        missing = len(held - stored)
        if missing:
            yield f"snapshot {row}: {missing} of its objects are not there"


def _records(connection: sqlite3.Connection) -> Iterator[str]:
    for (identity,) in connection.execute(
        "SELECT id FROM records WHERE snapshot NOT IN (SELECT id FROM snapshots)"
    ):
        yield f"record {identity}: its snapshot is not there"
