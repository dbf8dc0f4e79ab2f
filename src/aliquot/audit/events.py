"""Records for others: JSON lines that can be verified again, and CloudEvents.

An export begins with a line that says of which log it is and where it begins; every further line is a record:
its body as text, exactly as it was hashed, and its chain in hex. Source of the second form: CloudEvents 1.0,
JSON event format.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from aliquot.audit.record import CHAIN_BYTES, BodyError, Disclosure, Record, disclosed, read
from aliquot.audit.verification import Start

MAX_LINE = 4 << 20
FORMAT = "aliquot.dev/audit/v1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    log: str
    upto: int
    head: str


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    body: str
    chain: str
    private: dict[str, Disclosure] = {}


def export_head(start: Start) -> bytes:
    """The first line of an export."""
    return msgspec.json.encode(_Head(format=FORMAT, log=start.log, upto=start.upto, head=start.head.hex()))


def export_line(record: Record, private: bool) -> bytes:
    """The line of a record."""
    return msgspec.json.encode(
        _Line(
            body=record.body.decode(),
            chain=record.chain.hex(),
            private=record.private if private else {},
        )
    )


def read_export(lines: Iterable[bytes]) -> tuple[Start, Iterator[Record]]:
    """Where an export begins, and its records, read one by one. Raises BodyError with the line."""
    numbered = enumerate(lines, start=1)
    _, first = next(numbered, (0, b""))
    try:
        head = msgspec.json.decode(_bounded(first, 1), type=_Head)
        start = Start(log=head.log, upto=head.upto, head=bytes.fromhex(head.head))
    except (msgspec.DecodeError, ValueError) as error:
        raise BodyError(f"line 1 is not the head of an export: {error}") from None
    if head.format != FORMAT:
        raise BodyError(f"line 1 says format {head.format!r}, not {FORMAT!r}")
    return start, _records(numbered)


def _records(lines: Iterable[tuple[int, bytes]]) -> Iterator[Record]:
    for number, text in lines:
        if not text.strip():
            continue
        try:
            found = msgspec.json.decode(_bounded(text, number), type=_Line)
            chain = bytes.fromhex(found.chain)
        except (msgspec.DecodeError, ValueError) as error:
            raise BodyError(f"line {number} is no record: {error}") from None
        if len(chain) != CHAIN_BYTES:
            raise BodyError(f"line {number}: the chain has {len(chain)} bytes, not {CHAIN_BYTES}")
        body = found.body.encode()
        # A body that cannot be read has no sequence number; verification tells of it at the one it has here.
        try:
            seq = read(body).seq
        except BodyError:
            seq = 0
        yield Record(seq=seq, body=body, chain=chain, private=found.private)


def _bounded(text: bytes, number: int) -> bytes:
    if len(text) > MAX_LINE:
        raise BodyError(f"line {number} is longer than {MAX_LINE} bytes")
    return text


def cloud_event(record: Record, source: str, private: bool) -> bytes:
    """A record as a CloudEvent; `data` is the body, with the private values that are left if asked for."""
    body = read(record.body)
    data = msgspec.json.decode(record.body)
    if private:
        data["private"] = disclosed(body, record.private)
    event = {
        "specversion": "1.0",
        "id": f"{body.log}/{body.seq}",
        "source": source,
        "type": f"dev.aliquot.audit.{body.kind.value}.{body.outcome.value}",
        "time": (_EPOCH + timedelta(microseconds=body.time_us)).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": data,
    }
    if body.model:
        event["subject"] = body.model
    return msgspec.json.encode(event)
