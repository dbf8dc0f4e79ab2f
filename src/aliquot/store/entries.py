"""What the journal hands out: entries (one decision each) and records (one call of decide each)."""

from datetime import UTC, datetime

import msgspec

from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Decision, Plan
from aliquot.scheduling.policy import Policy


class EntryBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of an entry that is chained. snapshot, policy: digests of the inputs, in hexadecimal."""

    decision: Decision
    snapshot: str
    policy: str


class Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A decision as it was recorded. id: rises by time. record: the call of decide that it belongs to."""

    id: int
    time: datetime
    record: int
    decision: Decision
    snapshot: str
    policy: str


class RecordInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A recorded call of decide, without its content."""

    id: int
    time: datetime
    snapshot: str


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded call of decide, whole: `decide(snapshot, policy, time)` gave `plan`."""

    id: int
    time: datetime
    snapshot_digest: str
    snapshot: Snapshot
    policy: Policy
    plan: Plan


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept: `records` whole calls with their snapshots (for replay), `entries` decisions.

    The oldest go first; a fifth more than the bound may lie on disk before they do.
    """

    records: int = 2_000
    entries: int = 200_000


def time_text(time: datetime) -> str:
    """RFC 3339 in UTC with microseconds, so that texts sort as times do. `time` must be aware."""
    if time.tzinfo is None:
        raise ValueError("the journal takes aware times only")
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
