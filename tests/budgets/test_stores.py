"""What every store of budgets does: the same cases on SQLite and on PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.budgets import postgres
from tests.budgets.operations import SECOND, START, charge, hold, settle

from aliquot.budgets.accounts import Accounts
from aliquot.budgets.holding import Done, Gauge, Gone, Granted, Operation, Renew, Result, Short
from aliquot.budgets.keys import KeyRecord
from aliquot.budgets.windows import Window
from aliquot.store.budgets import BudgetStore, BudgetStoreError, settle_lapsed
from aliquot.store.budgets_postgres import PostgresBudgets
from aliquot.store.budgets_sqlite import SqliteBudgets


class SetClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


class Kept:
    """A place to keep budgets in, opened as often as a test wants."""

    def __init__(
        self, opener: Callable[[SetClock], "contextlib.AbstractAsyncContextManager[BudgetStore]"]
    ) -> None:
        self.clock = SetClock()
        self._opener = opener

    def open(self) -> "contextlib.AbstractAsyncContextManager[BudgetStore]":
        return self._opener(self.clock)


@pytest.fixture(params=["sqlite", "sqlite-power", "postgres"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    with contextlib.ExitStack() as made:
        if request.param == "postgres":
            own = made.enter_context(postgres.database(request.getfixturevalue("postgres_server")))

        @contextlib.asynccontextmanager
        async def opened(clock: SetClock) -> AsyncIterator[BudgetStore]:
            store: BudgetStore
            if request.param == "postgres":
                store = await PostgresBudgets.open(own, clock=clock)
            else:
                store = await SqliteBudgets.open(
                    tmp_path / "budgets.db",
                    clock=clock,
                    durability="power" if request.param == "sqlite-power" else "process",
                )
            try:
                yield store
            finally:
                await store.close()

        yield Kept(opened)


async def gauge(store: BudgetStore, counter: str, window: Window = Window.MINUTE) -> Gauge:
    return (await store.gauges([(counter, window)]))[counter]


async def test_a_hold_takes_from_all_counters_or_from_none(kept: Kept) -> None:
    async with kept.open() as store:
        assert await store.apply(hold("a", charge("x", 10, 4), charge("y", 10, 4))) == Granted(
            1, (Gauge(0, 4), Gauge(0, 4))
        )
        assert await store.apply(hold("b", charge("x", 10, 6), charge("y", 9, 6))) == Short(
            1, Gauge(0, 4), None
        )
        assert await gauge(store, "x") == Gauge(0, 4)


async def test_settling_gives_back_what_was_held_and_books_what_was_used(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("x", 100, 10, 1), most=50))
        assert await gauge(store, "x") == Gauge(0, 60)

        assert await store.apply(settle("a", ("x", 17), output=7)) == Done()
        assert await gauge(store, "x") == Gauge(17, 0)
        assert [use.output_tokens for _, use in await store.uses()] == [7]


async def test_a_call_is_settled_once(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("x", 100, 10)))
        await store.apply(settle("a", ("x", 5)))

        assert await store.apply(settle("a", ("x", 5))) == Gone()
        assert await gauge(store, "x") == Gauge(5, 0)


async def test_fewer_units_are_granted_where_there_is_no_room_for_all(kept: Kept) -> None:
    async with kept.open() as store:
        granted = await store.apply(
            hold("a", charge("tokens", 100, 20, 1), charge("money", 1000, 100, 25), least=5, most=500)
        )
        assert granted == Granted(36, (Gauge(0, 56), Gauge(0, 1000)))

        refused = await store.apply(hold("b", charge("tokens", 100, 40, 1), least=5, most=500))
        assert refused == Short(0, Gauge(0, 56), None)


async def test_a_refusal_says_when_there_will_be_room(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("x", 10, 6)))
        await store.apply(settle("a", ("x", 6)))
        kept.clock.now += 10 * SECOND
        await store.apply(hold("b", charge("x", 10, 4)))
        await store.apply(settle("b", ("x", 4)))

        first = await store.apply(hold("c", charge("x", 10, 5)))
        both = await store.apply(hold("c", charge("x", 10, 7)))
        never = await store.apply(hold("c", charge("x", 10, 11)))
        at = START // SECOND * SECOND

        assert first == Short(0, Gauge(10, 0), at + 61 * SECOND)
        assert both == Short(0, Gauge(10, 0), at + 71 * SECOND)
        assert never == Short(0, Gauge(10, 0), None)
        kept.clock.now = at + 61 * SECOND
        assert isinstance(await store.apply(hold("c", charge("x", 10, 5))), Granted)


async def test_requests_count_from_when_they_are_let_through(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("requests", 2, 1, at_once=True)))
        await store.apply(hold("b", charge("requests", 2, 1, at_once=True)))
        assert await gauge(store, "requests") == Gauge(2, 0)

        await store.apply(settle("a"))
        assert isinstance(await store.apply(hold("c", charge("requests", 2, 1, at_once=True))), Short)
        kept.clock.now += 62 * SECOND
        assert isinstance(await store.apply(hold("c", charge("requests", 2, 1, at_once=True))), Granted)


async def test_concurrency_is_given_back_with_the_call(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("now", 1, 1, window=Window.NOW)))
        assert isinstance(await store.apply(hold("b", charge("now", 1, 1, window=Window.NOW))), Short)

        await store.apply(settle("a"))
        assert isinstance(await store.apply(hold("b", charge("now", 1, 1, window=Window.NOW))), Granted)


async def test_a_stream_takes_more_as_it_goes_until_there_is_no_room(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("x", 100, 10, 1), charge("r", 5, 1, at_once=True), most=40))
        more = await store.apply(hold("a", charge("x", 100, 0, 1), most=40, more=True))
        assert more == Granted(40, (Gauge(0, 90),))
        last = await store.apply(hold("a", charge("x", 100, 0, 1), most=40, more=True))
        assert last == Granted(10, (Gauge(0, 100),))
        assert await store.apply(hold("a", charge("x", 100, 0, 1), more=True)) == Short(
            0, Gauge(0, 100), None
        )

        await store.apply(settle("a", ("x", 77)))
        assert await gauge(store, "x") == Gauge(77, 0)
        assert await store.apply(hold("a", charge("x", 100, 0, 1), more=True)) == Gone()


async def test_what_is_not_settled_in_time_counts_as_used_once(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("x", 100, 10, 1), charge("now", 3, 1, window=Window.NOW), most=40))
        await store.apply(hold("a", charge("x", 100, 0, 1), most=5, more=True))
        assert await store.lapsed() == []
        kept.clock.now += 61 * SECOND

        lost = await settle_lapsed(store, kept.clock.now)
        assert [use.output_tokens for use in lost] == [45]
        assert await settle_lapsed(store, kept.clock.now) == []
        assert await gauge(store, "x") == Gauge(55, 0)
        assert await gauge(store, "now", Window.NOW) == Gauge(0, 0)
        assert await store.apply(settle("a", ("x", 12))) == Gone()
        assert [use.request for _, use in await store.uses()] == ["a"]


async def test_a_renewed_hold_does_not_expire(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("x", 100, 10)))
        assert await store.apply(Renew(request="a", expires_us=START + 200 * SECOND)) == Done()
        kept.clock.now += 61 * SECOND

        assert await settle_lapsed(store, kept.clock.now) == []
        assert await store.apply(Renew(request="b", expires_us=START)) == Gone()


async def test_counters_holds_and_uses_are_found_again(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("x", 100, 10)))
        await store.apply(settle("a", ("x", 5)))
        await store.apply(hold("b", charge("x", 100, 20)))
    async with kept.open() as store:
        assert await gauge(store, "x") == Gauge(5, 20)
        kept.clock.now += 61 * SECOND
        await settle_lapsed(store, kept.clock.now)
        assert await gauge(store, "x") == Gauge(20, 0)
        assert [(number, use.request) for number, use in await store.uses()] == [(1, "a"), (2, "b")]


async def test_keys_are_kept_and_revoked(kept: Kept) -> None:
    key = KeyRecord(identity="k1", digest=b"\x01" * 32, created_us=START, models=("m",), agent="a")
    async with kept.open() as store:
        await store.add_key(key)
        assert await store.keys() == [key]
        assert await store.revoke_key("k1")
        assert not await store.revoke_key("k2")
        assert [one.valid(START) for one in await store.keys()] == [False]
    async with kept.open() as store:
        assert [one.revoked_us for one in await store.keys()] == [START]


async def test_a_use_is_not_told_before_those_that_began_to_be_written_earlier(postgres_server: str) -> None:
    with postgres.database(postgres_server) as own:
        store = await PostgresBudgets.open(own, clock=SetClock())
        for request in ("slow", "fast"):
            await store.apply(hold(request, charge("c", limit=100)))
        async with await psycopg.AsyncConnection.connect(own) as other:
            # Another gateway's settlement has its number and is not committed yet.
            body = msgspec.json.encode(settle("slow").use).decode()
            await other.execute(
                "INSERT INTO aliquot_uses (ended, request, body) VALUES (1, 'slow', %s)", (body,)
            )
            await store.apply(settle("fast"))
            telling = asyncio.create_task(store.uses())
            await asyncio.wait({telling}, timeout=0.3)
            early = telling.result() if telling.done() else []
        told = await telling
        await store.close()

    assert early == []
    assert [use.request for _, use in told] == ["slow", "fast"]


async def test_old_uses_are_deleted_and_the_counters_stay(kept: Kept) -> None:
    async with kept.open() as store:
        await store.apply(hold("a", charge("x", 100, 10, window=Window.DAY)))
        await store.apply(settle("a", ("x", 5), window=Window.DAY))
        kept.clock.now += 3600 * SECOND
        await store.tidy(1800 * SECOND)

        assert await store.uses() == []
        assert await gauge(store, "x", Window.DAY) == Gauge(5, 0)


async def test_a_thousand_callers_at_once_never_pass_a_limit(kept: Kept) -> None:
    async with kept.open() as store:

        async def call(number: int) -> int:
            name = f"r{number}"
            team = f"team{number % 7}"
            first = await store.apply(
                hold(
                    name,
                    charge("company", 5_000, 3, 1),
                    charge(team, 900, 3, 1),
                    least=2,
                    most=number % 23 + 2,
                    expires=START + 600 * SECOND,
                )
            )
            if not isinstance(first, Granted):
                return 0
            used = 3 + number % first.units
            await store.apply(settle(name, ("company", used), (team, used)))
            return used

        spent = sum(await asyncio.gather(*(call(number) for number in range(1_000))))
        found = await gauge(store, "company")

        assert found == Gauge(spent, 0)
        assert spent <= 5_000
        assert (await gauge(store, "team3")).spent <= 900


# The store against the accounts in memory.

_counters = st.sampled_from(["a", "b", "c"])
_requests = st.sampled_from([f"r{number}" for number in range(6)])
_charges = st.lists(
    st.builds(
        lambda counter, fixed, per_unit, at_once: charge(
            counter, 60, fixed, 0 if at_once else per_unit, at_once=at_once
        ),
        _counters,
        st.integers(0, 30),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=3,
    unique_by=lambda one: one.counter,
)
_steps = st.lists(
    st.tuples(
        st.integers(0, 30 * SECOND),
        st.one_of(
            st.builds(
                lambda request, charges, least, most, more: hold(
                    request, *charges, least=least, most=least + most, more=more, expires=START + 90 * SECOND
                ),
                _requests,
                _charges,
                st.integers(0, 5),
                st.integers(0, 20),
                st.booleans(),
            ),
            st.builds(
                lambda request, amounts: settle(request, *amounts),
                _requests,
                st.lists(
                    st.tuples(_counters, st.integers(1, 40)), max_size=3, unique_by=lambda pair: pair[0]
                ),
            ),
            st.builds(
                lambda request, later: Renew(request=request, expires_us=START + later),
                _requests,
                st.integers(0, 200 * SECOND),
            ),
        ),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps, together=st.booleans())
def test_postgresql_answers_as_the_accounts_in_memory_do(
    postgres_server: str, steps: list[tuple[int, Operation]], together: bool
) -> None:
    async def run() -> None:
        clock = SetClock()
        store = await PostgresBudgets.open(postgres_server, clock=clock)
        try:
            await store._query(
                "TRUNCATE aliquot_counters, aliquot_buckets, aliquot_holds, aliquot_uses, aliquot_keys"
            )
            await compare(store, clock)
        finally:
            await store.close()

    async def compare(store: PostgresBudgets, clock: SetClock) -> None:
        oracle = Accounts()
        used: set[str] = set()
        waiting: list[tuple[Operation, Result]] = []
        for number, (pause, operation) in enumerate(steps):
            clock.now += 0 if together else pause
            # A request has one hold in its life, as the gateway numbers them.
            if not getattr(operation, "more", True):
                if operation.request in used:
                    continue
                used.add(operation.request)
            waiting.append((operation, oracle.apply(operation, clock.now)))
            if not together or number % 7 == 6:
                await check(store, waiting)
        await check(store, waiting)
        for counter in ("a", "b", "c"):
            assert await gauge(store, counter) == oracle.gauge(counter, clock.now)
        found = {one.request: one for one in await store_holds(store, clock)}
        assert {name: one.amounts for name, one in found.items()} == {
            name: one.amounts for name, one in oracle.holds.items()
        }

    async def check(store: PostgresBudgets, waiting: list[tuple[Operation, Result]]) -> None:
        answers = await asyncio.gather(*(store.apply(operation) for operation, _ in waiting))
        assert answers == [result for _, result in waiting]
        waiting.clear()

    async def store_holds(store: PostgresBudgets, clock: SetClock) -> list[object]:
        clock.now += 10_000 * SECOND
        try:
            return list(await store.lapsed())
        finally:
            clock.now -= 10_000 * SECOND

    asyncio.run(run())


async def test_two_gateways_share_one_postgresql(postgres_server: str) -> None:
    clock = SetClock()
    with postgres.database(postgres_server) as own:
        one, two = await asyncio.gather(
            PostgresBudgets.open(own, clock=clock), PostgresBudgets.open(own, clock=clock)
        )
        try:

            async def call(store: BudgetStore, number: int) -> bool:
                name = f"{id(store)}-{number}"
                keys = ["root", f"t{number % 5}"] if number % 2 else [f"t{number % 5}", "root"]
                taken = await store.apply(hold(name, *(charge(key, 300, 1) for key in keys)))
                if isinstance(taken, Granted) and number % 3 == 0:
                    await store.apply(settle(name, ("root", 1), (f"t{number % 5}", 1)))
                return isinstance(taken, Granted)

            taken = await asyncio.gather(
                *(call(store, number) for number in range(300) for store in (one, two))
            )
            assert sum(taken) == 300
            found = await gauge(one, "root")
            assert found.spent + found.held == 300

            await one.apply(hold("mine", charge("other", 10, 5)))
            assert await two.apply(settle("mine", ("other", 2))) == Done()
            assert await gauge(one, "other") == Gauge(2, 0)
        finally:
            await one.close()
            await two.close()


async def test_a_hold_and_its_settlement_may_come_together(kept: Kept) -> None:
    async with kept.open() as store:
        first, second = await asyncio.gather(
            store.apply(hold("a", charge("x", 100, 10))), store.apply(settle("a", ("y", 4)))
        )

        assert isinstance(first, Granted)
        assert second == Done()
        assert (await gauge(store, "x"), await gauge(store, "y")) == (Gauge(0, 0), Gauge(4, 0))


async def test_a_file_has_one_gateway(tmp_path: Path) -> None:
    store = await SqliteBudgets.open(tmp_path / "budgets.db")
    with pytest.raises(BudgetStoreError, match="in use by another gateway"):
        await SqliteBudgets.open(tmp_path / "budgets.db")
    await store.close()
    await (await SqliteBudgets.open(tmp_path / "budgets.db")).close()


async def test_what_cannot_be_written_is_refused_and_does_not_count(tmp_path: Path) -> None:
    store = await SqliteBudgets.open(tmp_path / "budgets.db")
    await store.apply(hold("a", charge("x", 100, 10)))
    store._connection.execute("PRAGMA query_only = ON")

    with pytest.raises(BudgetStoreError, match="cannot be written"):
        await store.apply(hold("b", charge("x", 100, 10)))
    store._connection.execute("PRAGMA query_only = OFF")

    assert await gauge(store, "x") == Gauge(0, 10)
    assert isinstance(await store.apply(hold("b", charge("x", 100, 10))), Granted)
    await store.close()


async def test_holds_of_a_process_that_died_expire_with_the_next_start(tmp_path: Path) -> None:
    store = await SqliteBudgets.open(tmp_path / "budgets.db", clock=SetClock())
    await store.apply(hold("a", charge("x", 100, 10)))
    await store.close()

    store = await SqliteBudgets.open(tmp_path / "budgets.db", clock=SetClock())
    lost = await settle_lapsed(store, START)
    assert [use.request for use in lost] == ["a"]
    await store.close()


async def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(BudgetStoreError) as caught:
        await PostgresBudgets.open(f"host={tmp_path} dbname=x user=u password=hunter2 connect_timeout=2")

    assert "hunter2" not in str(caught.value)
