"""Budgets shared by several gateways in PostgreSQL: one round trip decides a batch of operations.

While a batch is under way, what comes in the meantime waits and goes as the next batch, so a busy gateway
locks the counters at the top of the tree once for many calls. The work is done by a function in the database
(budgets_postgres.sql), which locks counters in a fixed order and commits before it answers.
"""

import asyncio
import contextlib
import importlib.resources
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import psycopg
from psycopg.rows import TupleRow

from aliquot.budgets.holding import (
    Done,
    Gauge,
    Gone,
    Granted,
    Hold,
    OpenHold,
    Operation,
    Renew,
    Result,
    Settle,
    Short,
)
from aliquot.budgets.keys import KeyRecord
from aliquot.budgets.spending import TokenUse
from aliquot.budgets.windows import WINDOWS, Window
from aliquot.store.budgets import BudgetStoreError, Clock

SCHEMA_VERSION = 1
MAX_BATCH = 128
TIMEOUT_S = 10.0
"""After this time without an answer the connection is given up."""

_APPLY = "SELECT aliquot_budgets_apply(%s::text[], %s::jsonb, %s::bigint)::text"
_MISSING, _UNNAMED = "AL001", "AL002"
_RETRIED = frozenset({_MISSING, _UNNAMED, "40P01", "40001"})
_LOCK = 0x616C6971756F74
"""The advisory lock under which the schema is made ("aliquot")."""

_Connection = psycopg.AsyncConnection[TupleRow]


class _Answers(msgspec.Struct, frozen=True):
    answers: list[msgspec.Raw]


class _Kind(msgspec.Struct, frozen=True):
    type: str


_answers = msgspec.json.Decoder(_Answers)
_result = msgspec.json.Decoder(Granted | Short | Done | Gone)
_use = msgspec.json.Decoder(TokenUse)
_hold_use = msgspec.json.Decoder(TokenUse | None)


class PostgresBudgets:
    """Budgets in a database. Make one with `open`. clock: for tests; None is the server's."""

    def __init__(self, conninfo: str, clock: Clock | None) -> None:
        parts = psycopg.conninfo.conninfo_to_dict(conninfo)
        self.place = f"postgresql {parts.get('host') or 'local'}/{parts.get('dbname') or ''}"
        self._conninfo = conninfo
        self._clock = clock
        self._connection: _Connection | None = None
        self._side: _Connection | None = None
        self._side_lock = asyncio.Lock()
        self._queue: list[tuple[Operation, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._known: set[str] = set()
        self._held: dict[str, frozenset[str]] = {}

    @classmethod
    async def open(cls, conninfo: str, *, clock: Clock | None = None) -> "PostgresBudgets":
        """Connect, and make the schema if it is not there. Raises BudgetStoreError."""
        store = cls(conninfo, clock)
        connection = await store._connected()
        schema = (importlib.resources.files("aliquot.store") / "budgets_postgres.sql").read_text("utf-8")
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                await connection.execute(schema.encode())
                row = await (
                    await connection.execute("SELECT max(version) FROM aliquot_budgets_schema")
                ).fetchone()
                version = row[0] if row else None
                if version is None:
                    await connection.execute(
                        "INSERT INTO aliquot_budgets_schema VALUES (%s)", (SCHEMA_VERSION,)
                    )
                elif version != SCHEMA_VERSION:
                    raise BudgetStoreError(
                        store.place,
                        f"has schema {version}, not {SCHEMA_VERSION}",
                        "use the aliquot that wrote it",
                    )
        except psycopg.Error as error:
            await store.close()
            raise store._failure(error) from error
        except BudgetStoreError:
            await store.close()
            raise
        return store

    def _failure(self, error: BaseException) -> BudgetStoreError:
        problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return BudgetStoreError(self.place, problem, "check the database and the connection to it")

    async def _connected(self) -> _Connection:
        if self._connection is None or self._connection.closed:
            self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, application_name="aliquot"
                )
        except (psycopg.Error, TimeoutError, OSError) as error:
            raise self._failure(error) from error

    async def apply(self, operation: Operation) -> Result:
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((operation, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._queue:
            batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
            try:
                results = await self._execute([operation for operation, _ in batch])
            except BudgetStoreError as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (operation, answer), result in zip(batch, results, strict=True):
                self._remember(operation, result)
                if not answer.done():
                    answer.set_result(result)

    async def _execute(self, operations: list[Operation]) -> list[Result]:
        for attempt in range(4):
            keys, encoded = self._encode(operations)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    connection = await self._connected()
                    await self._ensure(connection, operations)
                    cursor = await connection.execute(
                        _APPLY, (keys, encoded, self._clock() if self._clock else None), prepare=True
                    )
                    row = await cursor.fetchone()
                assert row is not None
                return [_result.decode(raw) for raw in _answers.decode(row[0]).answers]
            except (psycopg.Error, TimeoutError, OSError) as error:
                state = getattr(error, "sqlstate", None)
                if state not in _RETRIED or attempt == 3:
                    await self._drop()
                    raise self._failure(error) from error
                if state == _MISSING:
                    self._known.clear()
                if state == _UNNAMED:
                    await self._look_up(operations)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _drop(self) -> None:
        """Give the connection up: what it did last is not known, and what was held by it expires."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()

    def _encode(self, operations: list[Operation]) -> tuple[list[str], str]:
        held = self._held_counters(operations)
        found: set[str] = set().union(*held.values())
        for operation in operations:
            if isinstance(operation, Hold):
                found.update(charge.counter for charge in operation.charges)
            elif isinstance(operation, Settle):
                found.update(key for key, _, _ in operation.amounts)
        keys = sorted(found)
        places = {key: number for number, key in enumerate(keys, 1)}
        documents = [self._document(one, places, held) for one in operations]
        return keys, msgspec.json.encode(documents).decode()

    def _held_counters(self, operations: list[Operation]) -> dict[str, frozenset[str]]:
        """For each call that is settled: the counters of its hold, which may be taken in the same batch."""
        held = {
            one.request: self._held.get(one.request, frozenset())
            for one in operations
            if isinstance(one, Settle)
        }
        for one in operations:
            if isinstance(one, Hold) and one.request in held:
                held[one.request] |= {charge.counter for charge in one.charges if not charge.at_once}
        return held

    def _document(
        self, operation: Operation, places: Mapping[str, int], held: Mapping[str, frozenset[str]]
    ) -> dict[str, Any]:
        match operation:
            case Hold():
                return {
                    "op": "hold",
                    "request": operation.request,
                    "expires_us": operation.expires_us,
                    "least": operation.least,
                    "most": operation.most,
                    "more": operation.more,
                    "lost": operation.lost,
                    "lost_unit": operation.lost_unit,
                    "charges": [
                        (
                            places[charge.counter],
                            charge.window,
                            charge.limit,
                            charge.fixed,
                            charge.per_unit,
                            charge.at_once,
                        )
                        for charge in operation.charges
                    ],
                }
            case Renew():
                return {"op": "renew", "request": operation.request, "expires_us": operation.expires_us}
            case Settle():
                return {
                    "op": "settle",
                    "request": operation.request,
                    "lapsed": operation.lapsed,
                    "places": {key: places[key] for key in held[operation.request]},
                    "amounts": [(places[key], window, amount) for key, window, amount in operation.amounts],
                    "use": operation.use,
                }

    async def _ensure(self, connection: _Connection, operations: list[Operation]) -> None:
        """Make the counters that are used for the first time, in the order of their keys."""
        windows: dict[str, Window] = {}
        for operation in operations:
            if isinstance(operation, Hold):
                windows |= {charge.counter: charge.window for charge in operation.charges}
            elif isinstance(operation, Settle):
                windows |= {key: window for key, window, _ in operation.amounts}
        new = sorted(windows.keys() - self._known)
        if new:
            await connection.execute(
                "INSERT INTO aliquot_counters (key, width, count) "
                "SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING",
                (
                    new,
                    [WINDOWS[windows[key]].width for key in new],
                    [WINDOWS[windows[key]].count for key in new],
                ),
            )
            self._known.update(new)

    async def _look_up(self, operations: list[Operation]) -> None:
        """Find the counters of holds that another process took."""
        settled = [one.request for one in operations if isinstance(one, Settle)]
        connection = await self._connected()
        cursor = await connection.execute(
            "SELECT request, amounts FROM aliquot_holds WHERE request = ANY (%s)", (settled,)
        )
        for request, amounts in await cursor.fetchall():
            self._held[request] = frozenset(entry[0] for entry in amounts)

    def _remember(self, operation: Operation, result: Result) -> None:
        if isinstance(operation, Hold):
            if isinstance(result, Granted):
                kept = frozenset(charge.counter for charge in operation.charges if not charge.at_once)
                self._held[operation.request] = self._held.get(operation.request, frozenset()) | kept
        elif isinstance(operation, Settle) and not (operation.lapsed and isinstance(result, Gone)):
            self._held.pop(operation.request, None)

    async def _query(self, statement: str, *arguments: Any) -> list[TupleRow]:
        """Read or write beside the batches, on a connection of its own."""
        async with self._side_lock:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    if self._side is None or self._side.closed:
                        self._side = await self._connect()
                    cursor = await self._side.execute(statement, arguments)
                    return await cursor.fetchall() if cursor.description else []
            except (psycopg.Error, TimeoutError, OSError) as error:
                if self._side is not None:
                    with contextlib.suppress(psycopg.Error, OSError):
                        await self._side.close()
                    self._side = None
                raise self._failure(error) from error

    async def _now(self) -> int:
        if self._clock is not None:
            return self._clock()
        rows = await self._query("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        return int(rows[0][0])

    async def lapsed(self) -> list[OpenHold]:
        rows = await self._query(
            "SELECT request, expires, units, amounts, lost::text, lost_unit FROM aliquot_holds "
            "WHERE expires <= %s ORDER BY expires LIMIT 1000",
            await self._now(),
        )
        found = []
        for request, expires, units, amounts, lost, lost_unit in rows:
            self._held.setdefault(request, frozenset(entry[0] for entry in amounts))
            found.append(
                OpenHold(
                    request=request,
                    expires_us=expires,
                    units=units,
                    amounts=tuple((key, Window(window), amount) for key, window, amount in amounts),
                    lost=_hold_use.decode(lost) if lost else None,
                    lost_unit=(lost_unit[0], lost_unit[1]),
                )
            )
        return found

    async def gauges(self, counters: Iterable[tuple[str, Window]] | None = None) -> Mapping[str, Gauge]:
        wanted = None if counters is None else dict(counters)
        now = await self._now()
        rows = await self._query(
            "SELECT c.key, coalesce((SELECT sum(b.amount) FROM aliquot_buckets b "
            "WHERE b.key = c.key AND b.bucket >= %s / c.width - c.count), 0)::bigint, c.held "
            "FROM aliquot_counters c WHERE %s::text[] IS NULL OR c.key = ANY (%s)",
            now,
            None if wanted is None else list(wanted),
            None if wanted is None else list(wanted),
        )
        found = {key: Gauge(int(spent), int(held)) for key, spent, held in rows}
        return {key: found.get(key, Gauge(0, 0)) for key in (found if wanted is None else wanted)}

    async def uses(self, after: int = 0, limit: int = 1000) -> list[tuple[int, TokenUse]]:
        if not await self._query("SELECT 1 FROM aliquot_uses WHERE number > %s LIMIT 1", after):
            return []
        # Whoever asks for those above the last number must not miss a lower one that is not committed yet.
        rows = await self._query(
            "SELECT number, body::text FROM aliquot_uses WHERE number > %s AND number <= %s "
            "ORDER BY number LIMIT %s",
            after,
            (await self._query("SELECT aliquot_uses_complete_to()"))[0][0],
            limit,
        )
        return [(number, _use.decode(body)) for number, body in rows]

    async def uses_between(self, since_us: int, until_us: int, limit: int) -> list[TokenUse]:
        """The last `limit` uses that ended from `since_us` to before `until_us`, by time."""
        rows = await self._query(
            "SELECT body::text FROM aliquot_uses WHERE ended >= %s AND ended < %s "
            "ORDER BY ended DESC LIMIT %s",
            since_us,
            until_us,
            limit,
        )
        return [_use.decode(body) for (body,) in reversed(rows)]

    async def tidy(self, keep_uses_us: int) -> None:
        await self._query("DELETE FROM aliquot_uses WHERE ended < %s", await self._now() - keep_uses_us)

    async def keys(self) -> list[KeyRecord]:
        rows = await self._query("SELECT body::text FROM aliquot_keys ORDER BY identity")
        return [msgspec.json.decode(body, type=KeyRecord) for (body,) in rows]

    async def add_key(self, key: KeyRecord) -> None:
        await self._query(
            "INSERT INTO aliquot_keys VALUES (%s, %s::jsonb)",
            key.identity,
            msgspec.json.encode(key).decode(),
        )

    async def revoke_key(self, identity: str) -> bool:
        now = await self._now()
        rows = await self._query(
            "UPDATE aliquot_keys SET body = CASE WHEN (body->>'revoked_us')::bigint = 0 "
            "THEN body || %s::jsonb ELSE body END WHERE identity = %s RETURNING identity",
            json.dumps({"revoked_us": now}),
            identity,
        )
        return bool(rows)

    async def close(self) -> None:
        if self._worker is not None:
            await self._worker
        for connection in (self._connection, self._side):
            if connection is not None:
                with contextlib.suppress(psycopg.Error, OSError):
                    await connection.close()
        self._connection = self._side = None
