"""`aliquot budgets keys`: make, list and revoke the keys of callers."""

import asyncio
import contextlib
import re
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from aliquot.budgets.keys import KeyRecord
from aliquot.budgets.spending import Endpoint
from aliquot.cli.failures import Failure
from aliquot.cli.gateway import configured
from aliquot.cli.output import FORMS, Column, Row, Table, note, write
from aliquot.gateway.callers import new_key
from aliquot.gateway.configuration import Configuration, ConfigurationError
from aliquot.gateway.server import open_store
from aliquot.store.budgets import BudgetStore, BudgetStoreError
from aliquot.store.budgets_sqlite import add_key, connect, read_keys, revoke_key

MOST_CHARACTERS = 512
"""Of what is said of a key: longer than any name of Kubernetes."""

_PERIOD = re.compile(r"^(\d{1,5})([mhd])$")
_UNITS_US = {"m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}

_CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The gateway's configuration.",
)


@click.group(short_help="Make, list and revoke keys.")
def keys() -> None:
    """Make, list and revoke the keys that callers of the gateway use."""


@keys.command(short_help="Make a key; it is shown once.")
@_CONFIG
@click.option("-n", "--namespace", default="", help="The namespace that the caller stands for.")
@click.option("--service-account", default="", help="The service account that the caller stands for.")
@click.option("--queue", default="", help="The queue that pays.")
@click.option("--agent", default="", help="The agent that uses the key.")
@click.option("--user", default="", help="Whose key it is, for records.")
@click.option("--model", "models", multiple=True, help="Only for this model (repeatable).")
@click.option(
    "--endpoint",
    "endpoints",
    multiple=True,
    type=click.Choice([one.value for one in Endpoint]),
    help="Only for this part of the API (repeatable).",
)
@click.option("--expires", default="90d", show_default=True, help="After 30m, 12h or 90d; or never.")
@click.option("--note", "about", default="", help="What it is for.")
def create(
    config_file: Path,
    namespace: str,
    service_account: str,
    queue: str,
    agent: str,
    user: str,
    models: tuple[str, ...],
    endpoints: tuple[str, ...],
    expires: str,
    about: str,
) -> None:
    """Make a key and print it. It is stored as a hash only, so it cannot be shown again."""
    configuration = configured(config_file)
    unknown = [model for model in models if model not in configuration.terms]
    if unknown:
        raise Failure(
            f"--model: no upstream serves {unknown[0]!r}; there are {', '.join(configuration.terms)}"
        )
    for option, value in {
        "--namespace": namespace,
        "--service-account": service_account,
        "--queue": queue,
        "--agent": agent,
        "--user": user,
        "--note": about,
    }.items():
        if not value.isprintable() or len(value) > MOST_CHARACTERS:
            raise Failure(f"{option}: write {MOST_CHARACTERS} printable characters at most, in one line")
    now = time.time_ns() // 1000
    text, record = new_key(
        now,
        expires_us=_expiry(expires, now),
        namespace=namespace,
        service_account=service_account,
        queue=queue,
        agent=agent,
        user=user,
        models=models,
        endpoints=tuple(Endpoint(one) for one in endpoints),
        note=about,
    )
    _in_store(configuration, _Add(record))
    note(f"key {record.identity} was made; it is shown only now:")
    click.echo(text)


@keys.command("list", short_help="List keys.")
@_CONFIG
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
def list_keys(config_file: Path, output: str) -> None:
    """List all keys with what they are for, never the keys themselves."""
    listing = _List()
    _in_store(configured(config_file), listing)
    now = time.time_ns() // 1000
    rows = [_row(key, now) for key in sorted(listing.found, key=lambda key: key.created_us)]
    if not rows:
        note("no keys found")
    write(Table(kind="KeyList", columns=_COLUMNS, rows=tuple(rows)), output)


@keys.command(
    short_help="Revoke a key.", epilog="Exit status: 0 revoked, 1 no key of that identity, 2 error."
)
@_CONFIG
@click.argument("identity")
def revoke(config_file: Path, identity: str) -> int:
    """Revoke a key by its identity; a running gateway refuses it within a second."""
    revoking = _Revoke(identity)
    _in_store(configured(config_file), revoking)
    if not revoking.done:
        note(f"no key {identity!r} found")
        return 1
    note(f"key {identity} is revoked")
    return 0


class _Add:
    def __init__(self, record: KeyRecord) -> None:
        self._record = record

    def file(self, connection: sqlite3.Connection) -> None:
        add_key(connection, self._record)

    async def shared(self, store: BudgetStore) -> None:
        await store.add_key(self._record)


class _List:
    def __init__(self) -> None:
        self.found: list[KeyRecord] = []

    def file(self, connection: sqlite3.Connection) -> None:
        self.found = read_keys(connection)

    async def shared(self, store: BudgetStore) -> None:
        self.found = await store.keys()


class _Revoke:
    def __init__(self, identity: str) -> None:
        self._identity = identity
        self.done = False

    def file(self, connection: sqlite3.Connection) -> None:
        self.done = revoke_key(connection, self._identity, time.time_ns() // 1000)

    async def shared(self, store: BudgetStore) -> None:
        self.done = await store.revoke_key(self._identity)


def _in_store(configuration: Configuration, action: _Add | _List | _Revoke) -> None:
    """Do something with the keys, beside a gateway that may be running. Raises Failure."""
    try:
        if configuration.file.store.sqlite:
            path = configuration.path(configuration.file.store.sqlite)
            with contextlib.closing(connect(path)) as connection:
                action.file(connection)
        else:
            asyncio.run(_shared(configuration, action))
    except (BudgetStoreError, ConfigurationError) as error:
        raise Failure(str(error)) from None
    except sqlite3.Error as error:
        raise Failure(f"{configuration.file.store.sqlite}: {error}") from None


async def _shared(configuration: Configuration, action: _Add | _List | _Revoke) -> None:
    store = await open_store(configuration)
    try:
        await action.shared(store)
    finally:
        await store.close()


def _expiry(text: str, now: int) -> int:
    if text == "never":
        return 0
    match = _PERIOD.match(text)
    if match is None or int(match[1]) == 0:
        raise Failure(f"--expires: {text!r} is no period; write 30m, 12h, 90d or never")
    return now + int(match[1]) * _UNITS_US[match[2]]


_COLUMNS = (
    Column(title="KEY", key="key"),
    Column(title="NAMESPACE", key="namespace", least=9),
    Column(title="QUEUE", key="queue", drop=2),
    Column(title="AGENT", key="agent", least=10),
    Column(title="USER", key="user", least=10),
    Column(title="MODELS", key="models", wide=True),
    Column(title="ENDPOINTS", key="endpoints", wide=True),
    Column(title="CREATED", key="created", wide=True),
    Column(title="EXPIRES", key="expires", drop=3),
    Column(title="STATUS", key="status"),
    Column(title="NOTE", key="note", wide=True),
)


def _row(key: KeyRecord, now: int) -> Row:
    status = "Revoked" if key.revoked_us else "Valid" if key.valid(now) else "Expired"
    models = ",".join(key.models)
    endpoints = ",".join(one.value for one in key.endpoints)
    expires = _day(key.expires_us) if key.expires_us else "never"
    cells = (
        key.identity,
        key.namespace,
        key.queue,
        key.agent,
        key.user,
        models,
        endpoints,
        _day(key.created_us),
        expires,
        status,
        key.note,
    )
    item = {column.key: cell for column, cell in zip(_COLUMNS, cells, strict=True)}
    return Row(cells=cells, item=item, name=f"key/{key.identity}")


def _day(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%MZ")
