"""Whatever is done to a log is found; what a policy takes away leaves it sound."""

import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.audit.anchors import Anchor, AnchorError, line, parse, sign
from aliquot.audit.record import (
    MAX_TEXT,
    Event,
    Kind,
    Outcome,
    Record,
    canonical,
    disclosed,
    genesis,
    link,
    read,
    seal,
)
from aliquot.audit.verification import Finding, Start, Summary, verify

LOG = "log-1"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def event(number: int, **changes: object) -> Event:
    fields: dict[str, object] = {
        "event": f"e{number}",
        "time_us": 1_800_000_000_000_000 + number,
        "kind": Kind.CALL,
        "outcome": Outcome.COMPLETED,
        "model": "llama",
        "cost_nano": number,
        "private": {"user": f"user {number % 3}"},
    }
    return Event(**{**fields, **changes})


def log_of(events: list[Event], name: str = LOG) -> list[Record]:
    chain, records = genesis(name), []
    for number, one in enumerate(events, start=1):
        salt = hashlib.sha256(b"%d" % number).digest()[:16]
        records.append(seal(one, log=name, seq=number, before=chain, salt=salt))
        chain = records[-1].chain
    return records


def sound(count: int = 12) -> list[Record]:
    return log_of([event(number) for number in range(1, count + 1)])


def problems(records: list[Record], anchors: tuple[Anchor, ...] = ()) -> list[Finding]:
    return [problem.finding for problem in verify(records, Start.of(LOG), anchors)]


def anchored(records: list[Record], seq: int) -> tuple[Anchor, ...]:
    return (sign(Anchor(log=LOG, seq=seq, time_us=1, head=records[seq - 1].chain), KEY),)


def test_a_log_as_it_was_written_is_sound() -> None:
    summary = Summary()
    records = sound()

    assert list(verify(records, Start.of(LOG), anchored(records, 12), summary=summary)) == []
    assert (summary.records, summary.first, summary.last, summary.head) == (12, 1, 12, records[-1].chain)
    assert summary.anchors == 1


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_change_of_a_record_is_found(data: st.DataObject) -> None:
    records = sound()
    place = data.draw(st.integers(0, len(records) - 1))
    victim = records[place]
    what = data.draw(st.sampled_from(["byte", "chain", "delete", "swap", "repeat", "cost", "private"]))
    if what == "byte":
        position = data.draw(st.integers(0, len(victim.body) - 1))
        other = data.draw(st.integers(1, 255)) ^ victim.body[position]
        body = victim.body[:position] + bytes([other]) + victim.body[position + 1 :]
        records[place] = msgspec.structs.replace(victim, body=body)
    elif what == "chain":
        records[place] = msgspec.structs.replace(victim, chain=bytes(32))
    elif what == "delete" and place < len(records) - 1:
        del records[place]
    elif what == "swap" and place:
        records[place - 1 : place + 1] = reversed(records[place - 1 : place + 1])
    elif what == "repeat":
        records.insert(place, victim)
    elif what == "private":
        lie = msgspec.structs.replace(victim.private["user"], value="somebody else")
        records[place] = msgspec.structs.replace(victim, private={"user": lie})
    else:
        body = canonical(msgspec.structs.replace(read(victim.body), cost_nano=10**9))
        records[place] = msgspec.structs.replace(victim, body=body)

    assert problems(records) != []


@settings(max_examples=50, deadline=None)
@given(cut=st.integers(0, 11), seen=st.integers(1, 12))
def test_losing_the_newest_records_is_found_if_an_anchor_saw_one_of_them(cut: int, seen: int) -> None:
    records = sound()

    found = problems(records[:cut], anchored(records, seen))

    assert found == ([Finding.TRUNCATED] if seen > cut else [])


@settings(max_examples=50, deadline=None)
@given(first=st.integers(1, 12), seen=st.integers(1, 12))
def test_a_log_written_anew_from_some_record_on_is_found_by_a_later_anchor(first: int, seen: int) -> None:
    records = sound()
    events = [event(number, cost_nano=0 if number >= first else number) for number in range(1, 13)]

    found = problems(log_of(events), anchored(records, seen))

    assert found == ([Finding.REWRITTEN] if seen >= first else [])


def test_records_of_another_log_are_found() -> None:
    other = log_of([event(number) for number in range(1, 4)], "log-2")

    assert Finding.FOREIGN in problems(other)


def dropped(upto: int, told: int) -> list[Finding]:
    records = sound()
    details: dict[str, str | int | bool] = {"upto": told, "head": records[told - 1].chain.hex()}
    late = event(13, kind=Kind.RETENTION, outcome=Outcome.DONE, details=details, private={})
    records.append(seal(late, log=LOG, seq=13, before=records[-1].chain, salt=bytes(16)))
    start = Start(log=LOG, upto=upto, head=records[upto - 1].chain)
    return [problem.finding for problem in verify(records[upto:], start)]


@pytest.mark.parametrize(("upto", "told", "found"), [(5, 5, []), (7, 5, [Finding.MISSING])])
def test_dropping_the_oldest_is_sound_only_if_the_log_says_so(
    upto: int, told: int, found: list[Finding]
) -> None:
    assert dropped(upto, told) == found


def test_redacting_leaves_the_chain_whole_and_says_nothing_any_more() -> None:
    records = sound()
    bare = [msgspec.structs.replace(record, private={}) for record in records]

    assert problems(bare) == []
    assert disclosed(read(records[0].body), records[0].private) == {"user": "user 1"}
    assert not any(b"user 1" in record.body for record in records)
    same = {read(record.body).committed["user"] for record in records}
    assert len(same) == len(records), "equal values must not be told to be equal"


def test_one_private_value_does_not_give_away_the_salt_of_another() -> None:
    both = event(1, private={"user": "ann", "address": "10.0.0.1"})
    record = seal(both, log=LOG, seq=1, before=genesis(LOG), salt=b"s" * 16)

    assert record.private["user"].salt != record.private["address"].salt


def test_long_text_is_cut() -> None:
    record = seal(event(1, asked="x" * 9999), log=LOG, seq=1, before=genesis(LOG), salt=bytes(16))

    assert len(read(record.body).asked) == MAX_TEXT


def test_the_chain_is_what_the_document_says_it_is() -> None:
    """Counted again with hashlib alone, as another program would verify an export."""
    records = sound(3)
    chain = hashlib.sha256(b"aliquot audit log\0" + LOG.encode()).digest()
    for record in records:
        chain = hashlib.sha256(chain + hashlib.sha256(record.body).digest()).digest()
        assert record.chain == chain == link(records[record.seq - 2].chain, record.body) or record.seq == 1


def test_anchors_are_read_back_and_only_with_their_signature() -> None:
    anchor = anchored(sound(), 3)[0]
    text = line(anchor) + b"\n"

    assert parse(text, KEY.public_key()) == (anchor,)
    forged = line(msgspec.structs.replace(anchor, seq=2))
    with pytest.raises(AnchorError, match="signature"):
        parse(text + forged, KEY.public_key())
    with pytest.raises(AnchorError, match="anchor 1: is no anchor"):
        parse(b'{"log": 1}')
    with pytest.raises(AnchorError, match="longer"):
        parse(b"x" * 5000)
