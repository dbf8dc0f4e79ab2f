"""Anchors: the head of an audit log at a moment, signed with Ed25519 (RFC 8032).

An anchor is worth what the place is worth where it is kept: another machine, a bucket with object lock, a
Kubernetes object that the writer of the log may create but not change. Its text is one line of JSON.
"""

import base64
import binascii

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from aliquot.audit.record import CHAIN_BYTES

MAX_LINE = 4096


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """After record `seq`, at `time_us`, the chain of `log` was `head`. signature: b"" if it is not signed."""

    log: str
    seq: int
    time_us: int
    head: bytes
    signature: bytes = b""


class AnchorError(Exception):
    """A line that is no anchor, or one with a wrong signature: `line` (from 1) and `problem`."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"anchor {line}: {problem}")
        self.line = line
        self.problem = problem


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    log: str
    seq: int
    time_us: int
    head: str
    signature: str = ""


def _signed_bytes(anchor: Anchor) -> bytes:
    return b"\0".join(
        (
            b"aliquot audit anchor v1",
            anchor.log.encode(),
            b"%d %d" % (anchor.seq, anchor.time_us),
            anchor.head,
        )
    )


def sign(anchor: Anchor, key: Ed25519PrivateKey) -> Anchor:
    """The anchor with its signature."""
    return msgspec.structs.replace(anchor, signature=key.sign(_signed_bytes(anchor)))


def genuine(anchor: Anchor, key: Ed25519PublicKey) -> bool:
    """Whether the anchor was signed with the private part of this key."""
    try:
        key.verify(anchor.signature, _signed_bytes(anchor))
    except InvalidSignature:
        return False
    return True


def line(anchor: Anchor) -> bytes:
    """The anchor as a line of JSON, without the end of the line."""
    return msgspec.json.encode(
        _Line(
            log=anchor.log,
            seq=anchor.seq,
            time_us=anchor.time_us,
            head=anchor.head.hex(),
            signature=base64.b64encode(anchor.signature).decode(),
        )
    )


def parse(text: bytes, key: Ed25519PublicKey | None = None) -> tuple[Anchor, ...]:
    """The anchors of a file of lines. key: every one has to be signed with its private part.

    Raises AnchorError.
    """
    found = []
    for number, raw in enumerate(text.splitlines(), start=1):
        if not raw.strip():
            continue
        if len(raw) > MAX_LINE:
            raise AnchorError(number, f"the line is longer than {MAX_LINE} bytes")
        try:
            read = msgspec.json.decode(raw, type=_Line)
            anchor = Anchor(
                log=read.log,
                seq=read.seq,
                time_us=read.time_us,
                head=bytes.fromhex(read.head),
                signature=base64.b64decode(read.signature, validate=True),
            )
        except (msgspec.DecodeError, ValueError, binascii.Error) as error:
            raise AnchorError(number, f"is no anchor: {error}") from None
        if len(anchor.head) != CHAIN_BYTES:
            raise AnchorError(number, f"its head has {len(anchor.head)} bytes, not {CHAIN_BYTES}")
        if key is not None and not genuine(anchor, key):
            raise AnchorError(number, "its signature is wrong, or was made with another key")
        found.append(anchor)
    return tuple(found)
