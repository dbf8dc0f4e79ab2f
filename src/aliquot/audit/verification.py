"""Does a log still say what was written? Editing, deleting, inserting, reordering and truncating are found.

The chain alone finds whatever does not begin at the changed record and go on to the end: whoever can write
the whole file can also compute a whole new chain. Anchors (`audit.anchors`), kept where the writer of the
file cannot change them, find that, and the loss of the newest records, too.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec

from aliquot.audit.anchors import Anchor
from aliquot.audit.record import Body, BodyError, Kind, Record, canonical, disclosed, genesis, link, read


class Finding(StrEnum):
    """What kind of thing is wrong."""

    EDITED = "edited"
    MISSING = "missing"
    ORDER = "order"
    TRUNCATED = "truncated"
    REWRITTEN = "rewritten"
    PRIVATE = "private"
    FOREIGN = "foreign"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong, at which sequence number (0: the log as a whole)."""

    finding: Finding
    seq: int
    text: str


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Where what is stored begins: records up to `upto` were dropped, the chain was `head` there."""

    log: str
    upto: int = 0
    head: bytes = b""

    @classmethod
    def of(cls, log: str) -> "Start":
        """A log of which nothing was dropped."""
        return cls(log=log, upto=0, head=genesis(log))


class Summary(msgspec.Struct, kw_only=True):
    """What was gone through: filled while `verify` is read to its end."""

    records: int = 0
    first: int = 0
    last: int = 0
    head: bytes = b""
    anchors: int = 0


def verify(
    records: Iterable[Record], start: Start, anchors: Sequence[Anchor] = (), *, summary: Summary | None = None
) -> Iterator[Problem]:
    """Everything that is wrong with a log; nothing if it is sound.

    records: in the order in which they are stored. anchors: those whose signatures were found good. A start
    other than the first record is accepted only if a retention record in the log says the same of it.
    """
    told = summary if summary is not None else Summary()
    by_seq = {anchor.seq: anchor for anchor in anchors if anchor.log == start.log}
    for anchor in anchors:
        if anchor.log != start.log:
            yield _problem(Finding.FOREIGN, 0, f"an anchor is of another log, {anchor.log}")
    if start.upto == 0 and start.head != genesis(start.log):
        yield _problem(Finding.REWRITTEN, 0, "the log does not begin where a log of this identity begins")
    chain, expected = start.head, start.upto + 1
    retained = start.upto == 0
    for record in records:
        if record.seq != expected:
            yield _gap(record.seq, expected)
        body, problem = _read(record, start.log)
        if problem is not None:
            yield problem
        elif body is not None:
            yield from _private(record, body)
            retained = retained or _tells(body, start)
        wanted = link(chain, record.body)
        if wanted != record.chain:
            yield _problem(Finding.EDITED, record.seq, "it, or one before it, is not as it was written")
        found = by_seq.get(record.seq)
        if found is not None:
            told.anchors += 1
            if found.head != record.chain:
                yield _problem(Finding.REWRITTEN, record.seq, "the log was another one when it was anchored")
        # Go on from what is stored, so that one change is told of once.
        chain, expected = record.chain, record.seq + 1
        told.records += 1
        told.first = told.first or record.seq
        told.last = max(told.last, record.seq)
    told.head = chain
    if not retained:
        yield _problem(
            Finding.MISSING,
            start.upto,
            f"records 1 to {start.upto} are gone, and no retention record says so",
        )
    latest = max(by_seq, default=0)
    if latest >= expected:
        yield _problem(
            Finding.TRUNCATED, latest, f"the log ends at {expected - 1}, but an anchor saw record {latest}"
        )


def _read(record: Record, log: str) -> tuple[Body | None, Problem | None]:
    try:
        body = read(record.body)
    except BodyError as error:
        return None, _problem(Finding.EDITED, record.seq, f"its body cannot be read: {error}")
    if body.seq != record.seq:
        return body, _problem(Finding.ORDER, record.seq, f"its body says that it is record {body.seq}")
    if body.log != log:
        return body, _problem(Finding.FOREIGN, record.seq, f"it is of another log, {body.log}")
    if canonical(body) != record.body:
        return body, _problem(Finding.EDITED, record.seq, "its body is not in canonical form")
    return body, None


def _private(record: Record, body: Body) -> Iterator[Problem]:
    if not record.private:
        return
    good = disclosed(body, record.private)
    for name in record.private:
        if name not in good:
            yield _problem(Finding.PRIVATE, record.seq, f"its {name} is not the one that was recorded")


def _tells(body: Body, start: Start) -> bool:
    return (
        body.kind is Kind.RETENTION
        and body.details.get("upto") == start.upto
        and body.details.get("head") == start.head.hex()
    )


def _gap(seq: int, expected: int) -> Problem:
    if seq < expected:
        return _problem(Finding.ORDER, seq, f"it stands where record {expected} should be")
    missing = str(expected) if seq == expected + 1 else f"{expected} to {seq - 1}"
    return _problem(Finding.MISSING, seq, f"before it, {missing} is missing")


def _problem(finding: Finding, seq: int, text: str) -> Problem:
    return Problem(finding=finding, seq=seq, text=text)
