"""The audit record: who asked what of which model or device, which policy decided, and what it cost.

Every record is chained to the one before it: `chain = SHA-256(chain before + SHA-256(body))`, where the body
is canonical JSON (fields in the order of `Body`, keys of maps sorted, no blanks, UTF-8), so whatever is
edited, deleted, inserted or put in another order later is found by `audit.verification`. The first record
follows `genesis(log)`.

What may have to be forgotten (names of people, addresses, prompts where a policy keeps them) does not stand
in the body: the body holds a commitment, `SHA-256(salt + name + NUL + value)`, and salt and value are kept
beside it. Both are deleted to redact; the chain stays whole, and whoever still has the value can show that it
was the one. With its salt gone a commitment says nothing, not even of values that could be guessed.

Times are microseconds since 1970-01-01 UTC, money integer nano-units, energy integer microjoules.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum

import msgspec

CHAIN_BYTES = 32
SALT_BYTES = 16
MAX_TEXT = 1024
"""Longest text in a field of a body, in characters; what is longer is cut, and says so."""
MAX_PRIVATE = 1 << 20
"""Longest private value, in bytes of UTF-8."""


class Kind(StrEnum):
    """What a record is about. The value is what stands in the body."""

    CALL = "call"
    """A model was called, or a call was refused."""
    ADMISSION = "admission"
    """A workload that serves a model, or asks for devices, was let in or refused."""
    DEVICE = "device"
    """Devices were given to a workload, or taken back."""
    MODEL = "model"
    """An approved model was proposed, approved, deprecated or revoked."""
    BUDGET = "budget"
    """A budget was made, changed or deleted."""
    AGENT = "agent"
    """An agent was contained, stopped or let go on."""
    KEY = "key"
    """A key was issued or revoked."""
    LOGIN = "login"
    """Somebody signed in to the pages, or failed to."""
    RETENTION = "retention"
    """The oldest records were dropped, as a policy says: `details` holds `upto` and `head`."""
    REDACTION = "redaction"
    """Private values of earlier records were deleted, as a policy says."""


class Outcome(StrEnum):
    """What became of it. The value is what stands in the body."""

    ALLOWED = "allowed"
    DENIED = "denied"
    COMPLETED = "completed"
    ABORTED = "aborted"
    CUT = "cut"
    FAILED = "failed"
    LOST = "lost"
    DONE = "done"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be recorded; sequence and chain are given by the log.

    event: unique among all events of a log; recording one twice leaves one record (a call's settlement may be
    repeated after a crash). request: of the gateway, or the uid of an admission review. asked: the model, or
    device, asked for; model: the approved model or device it came to. policy: what decided, such as
    `approvedmodel/llama-3-8b`, `tokenbudget/team-a`, `guard/TaskDepth`; reason: its CamelCase word.
    input_tokens includes cached_tokens. details: few short values more.

    private: what may be redacted, name to value: user, address, prompt, answer.
    """

    event: str
    time_us: int
    kind: Kind
    outcome: Outcome
    action: str = ""
    request: str = ""
    namespace: str = ""
    service_account: str = ""
    agent: str = ""
    session: str = ""
    key: str = ""
    queue: str = ""
    asked: str = ""
    model: str = ""
    upstream: str = ""
    policy: str = ""
    reason: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    currency: str = ""
    microjoules: int = 0
    details: dict[str, str | int | bool] = {}
    private: dict[str, str] = {}


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is hashed: an Event with its place in the log, and commitments instead of private values."""

    log: str
    seq: int
    event: str
    time_us: int
    kind: Kind
    outcome: Outcome
    action: str = ""
    request: str = ""
    namespace: str = ""
    service_account: str = ""
    agent: str = ""
    session: str = ""
    key: str = ""
    queue: str = ""
    asked: str = ""
    model: str = ""
    upstream: str = ""
    policy: str = ""
    reason: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    currency: str = ""
    microjoules: int = 0
    details: dict[str, str | int | bool] = {}
    committed: dict[str, str] = {}


class Disclosure(msgspec.Struct, frozen=True):
    """A private value with the salt (hex) of its commitment."""

    salt: str
    value: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is stored: the body's bytes, the chain up to and with it, what is not yet redacted."""

    seq: int
    body: bytes
    chain: bytes
    private: dict[str, Disclosure] = {}


class BodyError(Exception):
    """Bytes that are no body of a record: `problem` says why."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


_BODY_FIELDS = tuple(field for field in Event.__struct_fields__ if field != "private")
_TEXT_FIELDS = tuple(
    field
    for field in _BODY_FIELDS
    if field not in ("kind", "outcome") and Event.__annotations__[field] is str
)
_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Body)


def genesis(log: str) -> bytes:
    """The chain before the first record of a log. log: its identity, unique for each log ever begun."""
    return hashlib.sha256(b"aliquot audit log\0" + log.encode()).digest()


def commitment(name: str, value: str, salt: bytes) -> str:
    """What stands in a body for a private value, in hex."""
    return hashlib.sha256(salt + name.encode() + b"\0" + value.encode()).hexdigest()


def link(before: bytes, body: bytes) -> bytes:
    """The chain after a record with this body."""
    return hashlib.sha256(before + hashlib.sha256(body).digest()).digest()


def seal(event: Event, *, log: str, seq: int, before: bytes, salt: bytes) -> Record:
    """The record of an event at its place in the log.

    salt: SALT_BYTES unpredictable bytes, new for every record; each private value has a salt of its own made
    of it. Raises ValueError for a salt of another length.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    committed: dict[str, str] = {}
    private: dict[str, Disclosure] = {}
    for name, value in event.private.items():
        if not value:
            continue
        value = shortened(value, MAX_PRIVATE // 4)
        # One redacted value must not give away the salt of another one.
        own = hashlib.sha256(salt + name.encode()).digest()[:SALT_BYTES]
        committed[name] = commitment(name, value, own)
        private[name] = Disclosure(own.hex(), value)
    values = {name: getattr(event, name) for name in _BODY_FIELDS}
    for name in _TEXT_FIELDS:
        if len(values[name]) > MAX_TEXT:
            values[name] = shortened(values[name], MAX_TEXT)
    body = _encoder.encode(Body(log=log, seq=seq, committed=committed, **values))
    return Record(seq=seq, body=body, chain=link(before, body), private=private)


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters; what was cut ends with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def read(body: bytes) -> Body:
    """A body as a value. Raises BodyError if the bytes are none."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BodyError(str(error)) from None


def canonical(body: Body) -> bytes:
    """The bytes of a body, as they are hashed."""
    return _encoder.encode(body)


def disclosed(body: Body, private: Mapping[str, Disclosure]) -> dict[str, str]:
    """The private values that are still there; those that do not fit their commitment are left out."""
    return {
        name: found.value
        for name, found in private.items()
        if name in body.committed and _fits(body.committed[name], name, found)
    }


def _fits(committed: str, name: str, found: Disclosure) -> bool:
    try:
        salt = bytes.fromhex(found.salt)
    except ValueError:
        return False
    return commitment(name, found.value, salt) == committed
