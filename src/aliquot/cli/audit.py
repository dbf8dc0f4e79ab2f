"""`aliquot audit verify|search|export|anchor|retain|redact`."""

import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from aliquot.audit.anchors import Anchor, AnchorError, line, parse, sign
from aliquot.audit.events import MAX_LINE, cloud_event, export_head, export_line, read_export
from aliquot.audit.policy import KeepingPolicy
from aliquot.audit.record import BodyError, Kind, Outcome, Record, disclosed, read
from aliquot.audit.search import Search
from aliquot.audit.verification import Problem, Start, Summary, verify
from aliquot.cli.failures import Failure
from aliquot.cli.output import FORMS, Column, Row, Table, note, say, write, write_document
from aliquot.store.audit import AuditLog
from aliquot.store.audit_file import AuditError

MAX_KEY_BYTES = 64 << 10
MAX_ANCHOR_BYTES = 64 << 20
MOST_DAYS = 36_500

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_COLUMNS = (
    Column(title="SEQ", key="seq", right=True),
    Column(title="TIME", key="time"),
    Column(title="KIND", key="kind", drop=3),
    Column(title="OUTCOME", key="outcome"),
    Column(title="WHO", key="who", least=14),
    Column(title="MODEL", key="model", least=12),
    Column(title="REASON", key="reason", least=12),
    Column(title="TOKENS IN/OUT", key="tokens", right=True, drop=2),
    Column(title="COST", key="cost", right=True, drop=1),
    Column(title="POLICY", key="policy", wide=True),
    Column(title="REQUEST", key="request", wide=True),
    Column(title="QUEUE", key="queue", wide=True),
)

_log_option = click.option(
    "--log",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ALIQUOT_AUDIT_LOG",
    default=Path("audit.db"),
    show_default=True,
    help="The gateway's audit log (or ALIQUOT_AUDIT_LOG).",
)


@click.group(short_help="Verify, search and export the audit record.")
def audit() -> None:
    """The record of who asked what of which model or device, which policy decided, and what it cost."""


@audit.command(
    "verify",
    short_help="Check that nothing was changed.",
    epilog="Exit status: 0 sound, 1 something is wrong, 2 error.",
)
@_log_option
@click.option("--export", "exported", type=click.Path(path_type=Path), help="Verify an export (JSON lines).")
@click.option("--anchors", type=click.Path(path_type=Path), help="File of anchors, kept elsewhere.")
@click.option("--public-key", type=click.Path(path_type=Path), help="Ed25519 key (PEM) that signed them.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "yaml")), default="table")
def verify_(
    path: Path, exported: Path | None, anchors: Path | None, public_key: Path | None, output: str
) -> int:
    """Check that nothing was edited, deleted, inserted, reordered or cut off.

    The end of a log, or a whole one written anew, can only be checked against anchors that were kept where
    the writer of the log could not change them.
    """
    kept = _anchors(anchors, public_key)
    summary = Summary()
    try:
        if exported is not None:
            start, records = read_export(_lines(exported))
            problems = list(verify(records, start, kept, summary=summary))
        else:
            with AuditLog.open(path, read_only=True) as log:
                problems = list(log.problems(kept, summary=summary))
    except (AuditError, BodyError) as error:
        raise Failure(str(error)) from None
    _tell(problems, summary, output, anchored=anchors is not None)
    return 1 if problems else 0


def _tell(problems: list[Problem], summary: Summary, output: str, *, anchored: bool) -> None:
    if output != "table":
        found = {
            "sound": not problems,
            "records": summary.records,
            "first": summary.first,
            "last": summary.last,
            "head": summary.head.hex(),
            "anchors": summary.anchors,
            "problems": [{"finding": one.finding, "seq": one.seq, "text": one.text} for one in problems],
        }
        write_document({"apiVersion": "aliquot.dev/v1alpha1", "kind": "AuditVerification", **found}, output)
        return
    for one in problems:
        place = f"record {one.seq}: " if one.seq else ""
        say(f"{one.finding.upper():<10} {place}{one.text}")
    told = f"{summary.records} records ({summary.first} to {summary.last}), {summary.anchors} anchors met"
    note(f"{told}; {len(problems)} problems" if problems else f"{told}; the log is sound")
    if not anchored and not problems:
        note("without --anchors, a log that was written anew or cut at its end is not found")


_KINDS = click.Choice([kind.value for kind in Kind])
_OUTCOMES = click.Choice([outcome.value for outcome in Outcome])


@audit.command(epilog="Exit status: 0 found, 1 nothing found, 2 error.")
@_log_option
@click.option("--kind", type=_KINDS, default=None)
@click.option("--outcome", type=_OUTCOMES, default=None)
@click.option("-n", "--namespace", default="")
@click.option("--agent", default="")
@click.option("--key", default="", help="Identity of a key.")
@click.option("--model", default="")
@click.option("--queue", default="")
@click.option("--request", default="", help="Identity of a request.")
@click.option("--policy", default="")
@click.option("--reason", default="")
@click.option("--since", default="", help="A time (2026-01-31T12:00Z) or how long ago (90m, 7d).")
@click.option("--until", default="", help="The same; up to, and not with, that time.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="The newest.")
@click.option("--private", is_flag=True, help="Show what may be redacted: users, addresses (json, yaml).")
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
def search(
    path: Path,
    kind: str | None,
    outcome: str | None,
    namespace: str,
    agent: str,
    key: str,
    model: str,
    queue: str,
    request: str,
    policy: str,
    reason: str,
    since: str,
    until: str,
    limit: int,
    private: bool,
    output: str,
) -> int:
    """Show the newest records that meet all conditions."""
    now = datetime.now(UTC)
    wanted = Search(
        kind=Kind(kind) if kind else None,
        outcome=Outcome(outcome) if outcome else None,
        namespace=namespace,
        agent=agent,
        key=key,
        model=model,
        queue=queue,
        request=request,
        policy=policy,
        reason=reason,
        since_us=_moment(since, now, "--since"),
        until_us=_moment(until, now, "--until"),
    )
    try:
        with AuditLog.open(path, read_only=True) as log:
            rows = [_row(record, private) for record in log.records(wanted, newest=limit)]
    except (AuditError, BodyError) as error:
        raise Failure(str(error)) from None
    write(Table(kind="AuditRecordTable", columns=_COLUMNS, rows=tuple(rows)), output)
    if len(rows) == limit:
        note(f"only the newest {limit} are shown; --limit shows more")
    return 0 if rows else 1


@audit.command(epilog="Exit status: 0 exported, 2 error.")
@_log_option
@click.option("--format", "form", type=click.Choice(("jsonl", "cloudevents")), default="jsonl")
@click.option("--after", type=click.IntRange(0), default=0, help="Records behind this sequence number.")
@click.option("--private", is_flag=True, help="With what may be redacted: users, addresses.")
@click.option("--source", default="aliquot", help="Source of the CloudEvents.")
def export(path: Path, form: str, after: int, private: bool, source: str) -> int:
    """Print records, oldest first, one a line.

    jsonl can be verified again (aliquot audit verify --export FILE); cloudevents are CloudEvents 1.0 in their
    JSON format.
    """
    out = sys.stdout.buffer
    try:
        with AuditLog.open(path, read_only=True) as log:
            start = log.start()
            if form == "jsonl" and after:
                before = next(iter(log.records(Search(after=after - 1))), None)
                if before is None or before.seq != after:
                    raise Failure(f"--after: there is no record {after}")
                start = Start(log=start.log, upto=after, head=before.chain)
            if form == "jsonl":
                out.write(export_head(start) + b"\n")
            for record in log.records(Search(after=after)):
                shown = (
                    export_line(record, private) if form == "jsonl" else cloud_event(record, source, private)
                )
                out.write(shown + b"\n")
    except (AuditError, BodyError) as error:
        raise Failure(str(error)) from None
    out.flush()
    return 0


@audit.command(short_help="Print where the log stands, signed.", epilog="Exit status: 0 printed, 2 error.")
@_log_option
@click.option("--key", "key_file", type=click.Path(path_type=Path), help="Ed25519 private key (PEM).")
def anchor(path: Path, key_file: Path | None) -> int:
    """Print where the log stands now, signed: to be kept where its writer cannot change it."""
    key = _private_key(key_file) if key_file else None
    try:
        with AuditLog.open(path, read_only=True) as log:
            found = log.anchor(time.time_ns() // 1000)
    except AuditError as error:
        raise Failure(str(error)) from None
    if not found.seq:
        raise Failure(f"{path}: the log is empty; anchor it when something is recorded")
    click.echo(line(sign(found, key) if key else found).decode())
    if key is None:
        note("the anchor is not signed; keep it where nobody can change it, or give --key")
    return 0


@audit.command(epilog="Exit status: 0 done, 2 error.")
@_log_option
@click.option(
    "--keep-days", type=click.IntRange(1, MOST_DAYS), required=True, help="Drop records that are older."
)
def retain(path: Path, keep_days: int) -> int:
    """Drop old records. The log says what was dropped, and stays verifiable."""
    try:
        with AuditLog.open(path) as log:
            totals = log.retain(KeepingPolicy(keep_days=keep_days), time.time_ns() // 1000)
    except AuditError as error:
        raise Failure(str(error)) from None
    note(f"{totals.records} records were dropped")
    return 0


@audit.command(epilog="Exit status: 0 done, 2 error.")
@_log_option
@click.option("--user", default="", help="Delete what is kept of this person.")
@click.option(
    "--older-than-days", type=click.IntRange(0, MOST_DAYS), default=None, help="Delete what is older."
)
@click.option("--name", "names", multiple=True, help="Which values: user, address ...; left out: all.")
@click.option("--by", default="", help="Who asked for it, for the record.")
def redact(path: Path, user: str, older_than_days: int | None, names: tuple[str, ...], by: str) -> int:
    """Delete what is kept of people. The chain of records stays verifiable."""
    if not user and older_than_days is None:
        raise Failure("name what to delete: --user, or --older-than-days")
    days = dict.fromkeys(names or ("*",), older_than_days) if older_than_days is not None else {}
    policy = KeepingPolicy(private_days={name: kept for name, kept in days.items() if kept is not None})
    try:
        with AuditLog.open(path) as log:
            changed = log.redact(policy, time.time_ns() // 1000, user=user, by=by)
    except AuditError as error:
        raise Failure(str(error)) from None
    note(f"values of {changed} records were deleted")
    return 0


def _row(record: Record, private: bool) -> Row:
    body = read(record.body)
    who = body.agent or body.service_account or body.key or body.namespace
    if who and body.namespace and who != body.namespace and "/" not in who:
        who = f"{body.namespace}/{who}"
    called = body.kind is Kind.CALL and body.outcome not in (Outcome.DENIED, Outcome.ALLOWED)
    item = _document(record)
    if private:
        item["private"] = disclosed(body, record.private)
    cost = f"{body.cost_nano / 1_000_000_000:.6f} {body.currency}".strip() if called else ""
    return Row(
        name=f"record/{body.seq}",
        cells=(
            str(body.seq),
            f"{_EPOCH + timedelta(microseconds=body.time_us):%Y-%m-%d %H:%M:%S}",
            body.kind.value,
            body.outcome.value,
            who,
            body.model or body.asked,
            body.reason,
            f"{body.input_tokens}/{body.output_tokens}" if called else "",
            cost,
            body.policy,
            body.request,
            body.queue,
        ),
        item=item,
    )


def _document(record: Record) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(record.body)
    return found


def _moment(text: str, now: datetime, option: str) -> int | None:
    """A time in microseconds. Raises Failure."""
    if not text:
        return None
    span = _SPAN.fullmatch(text)
    if span:
        moment = now - timedelta(seconds=int(span[1]) * _UNITS[span[2]])
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise Failure(f"{option}: {text!r} is no time; write 2026-01-31T12:00Z, 90m or 7d") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _anchors(path: Path | None, key_file: Path | None) -> tuple[Anchor, ...]:
    if path is None:
        if key_file is not None:
            raise Failure("--public-key is for --anchors; name the file of anchors")
        return ()
    key = None
    if key_file is not None:
        try:
            loaded = load_pem_public_key(_bounded(key_file, MAX_KEY_BYTES))
        except (ValueError, UnsupportedAlgorithm):
            raise Failure(f"{key_file}: is no public key in PEM") from None
        if not isinstance(loaded, Ed25519PublicKey):
            raise Failure(f"{key_file}: is no Ed25519 key")
        key = loaded
    try:
        return parse(_bounded(path, MAX_ANCHOR_BYTES), key)
    except AnchorError as error:
        raise Failure(f"{path}: {error}") from None


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        loaded = load_pem_private_key(_bounded(path, MAX_KEY_BYTES), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Failure(f"{path}: is no private key in PEM without a password") from None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise Failure(f"{path}: is no Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
    return loaded


def _bounded(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise Failure(f"{path}: is larger than {most} bytes")
    return content


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(MAX_LINE + 1), b"")
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}") from None
