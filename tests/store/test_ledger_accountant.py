"""The accountant beside a controller: who holds what by the cluster's objects, and use by telemetry's
history."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.inventory.world import NOW, QUEUES, World, claim, pod, world

from aliquot.accounting.amounts import HOUR_MS, MILLION
from aliquot.accounting.budgets import Alert, Budget, Period
from aliquot.accounting.entries import Category, Kind
from aliquot.accounting.price_files import Spending, milliseconds
from aliquot.accounting.prices import Basis, Match, Price, PriceBook
from aliquot.model.meta import Condition, ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_accountant import Accountant, keep
from aliquot.store.ledger_audit import problems
from aliquot.store.ledger_reading import entries
from aliquot.store.ledger_reports import Query, sums
from aliquot.store.ledger_usage import HistoryUse
from aliquot.store.usage import UsageHistory
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Owner, Series, Subject

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 1, type: dgx-h100, name: split, zone: a, mig: {dynamic: true}}
  - {count: 1, type: l4-pcie-4, name: old, zone: b, legacy: {replicas: 4}}
"""
WORK = QUEUES + "".join(
    claim(
        name,
        queue,
        f"deviceClassName: {device}" + (f", selectors: [{{cel: {{expression: '{cel}'}}}}]" if cel else ""),
    )
    + pod(name, queue, name)
    for name, queue, device, cel in (
        ("whole", "red", "gpu.nvidia.com", ""),
        ("small", "blue", "mig.nvidia.com", 'device.attributes["gpu.nvidia.com"].profile == "1g.10gb"'),
        ("large", "red", "mig.nvidia.com", 'device.attributes["gpu.nvidia.com"].profile == "4g.40gb"'),
    )
)
ALL = (0, milliseconds(NOW) + 1000 * HOUR_MS)


@pytest.fixture(scope="module")
def made() -> World:
    return world(WORK, FLEET)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with Ledger.open(None) as opened:
        yield opened


def look(accountant: Accountant, snapshot: Snapshot, minutes: float, plan: Plan | None = None) -> None:
    accountant.observe(NOW + timedelta(minutes=minutes), snapshot, plan or Plan())


def replaced(snapshot: Snapshot, **fields: object) -> Snapshot:
    return msgspec.structs.replace(snapshot, **fields)


def test_holders_parts_and_decisions_are_those_of_the_cluster(made: World, ledger: Ledger) -> None:
    accountant = Accountant(ledger, Spending())
    look(accountant, made.before, 0, made.plan)
    look(accountant, made.after, 0)
    look(accountant, made.after, 3)
    look(accountant, made.before, 5)

    found = {entry.account.claim: entry for entry in entries(ledger, *ALL) if entry.category.held}
    decisions = {item.workload.name: item.id for item in made.plan.decisions}
    assert set(found) == {"whole", "small", "large"}
    assert {name: entry.device_ms for name, entry in found.items()} == {
        "whole": 300_000,
        "small": 37_500,
        "large": 150_000,
    }
    whole, small = found["whole"].account, found["small"].account
    assert (whole.queue, whole.queue_path, whole.namespace) == ("red", "/top/red/", "red")
    assert (whole.workload, whole.mode, whole.profile) == ("pod/whole", "exclusive", "")
    assert (small.mode, small.profile, [item.name for item in small.pods]) == ("mig", "1g.10gb", ["small"])
    assert {name: entry.account.decision for name, entry in found.items()} == decisions
    for device in {entry.device for entry in found.values()}:
        own = [entry for entry in entries(ledger, *ALL) if entry.device == device]
        assert sum(entry.device_ms for entry in own) == 300_000


def test_decisions_made_before_the_process_began_are_found_in_the_journal(
    made: World, ledger: Ledger, tmp_path: Path
) -> None:
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.record(NOW, made.before, Policy(), made.plan)
        accountant = Accountant(ledger, Spending(), journal=journal)
        look(accountant, made.after, 0)
        look(accountant, made.before, 1)

    decisions = {item.workload.name: item.id for item in made.plan.decisions}
    held = [entry for entry in entries(ledger, *ALL) if entry.category.held]
    assert {entry.account.claim: entry.account.decision for entry in held} == decisions


def test_what_is_cordoned_or_not_ready_is_system_and_says_why(made: World, ledger: Ledger) -> None:
    accountant = Accountant(ledger, Spending())
    split, old = (next(node for node in made.after.nodes if name in node.name) for name in ("split", "old"))
    cordoned = msgspec.structs.replace(split, spec=msgspec.structs.replace(split.spec, unschedulable=True))
    broken = msgspec.structs.replace(
        old, status=msgspec.structs.replace(old.status, conditions=(Condition(type="Ready", status="False"),))
    )
    changed = replaced(made.after, nodes=tuple(sorted((cordoned, broken), key=lambda node: node.name)))
    look(accountant, changed, 0)
    look(accountant, made.after, 1)

    lines = sums(ledger, Query(*ALL, by=("reason",), where=(("category", "system"),)))
    shown = {line.keys[0]: line.amounts.device_ms for line in lines}
    held = 60_000 + 60_000 // 8 + 60_000 * 4 // 8
    assert shown == {"NodeCordoned": 8 * 60_000 - held, "NodeNotReady": 4 * 60_000}


def test_another_process_goes_on_where_one_ended(made: World, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger.open(path) as first:
        accountant = Accountant(first, Spending())
        look(accountant, made.after, 0)
        look(accountant, made.after, 0.5)
    with Ledger.open(path) as second:
        accountant = Accountant(second, Spending())
        look(accountant, made.after, 2)
        look(accountant, made.after, 60)
        look(accountant, made.before, 61)
        held = [entry for entry in entries(second, *ALL) if entry.account.claim == "whole"]
        assert sum(entry.device_ms for entry in held) == 61 * 60_000
        assert problems(second) == ()


def test_a_writer_that_was_overtaken_goes_on_from_what_the_other_wrote(made: World, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db") as one, Ledger.open(tmp_path / "ledger.db") as two:
        first, second = Accountant(one, Spending()), Accountant(two, Spending())
        look(first, made.after, 0)
        second.resume()
        look(second, made.before, 2)
        look(first, made.after, 3)
        look(first, made.before, 4)

        held = [entry for entry in entries(one, *ALL) if entry.account.claim == "whole"]
        assert sorted(entry.device_ms for entry in held) == [60_000, 120_000]
        assert problems(two) == ()


@dataclass
class History:
    """A history of usage of the world's devices, and who they are."""

    history: UsageHistory
    written: list[Series] = field(default_factory=list)

    def write(self, *series: Series) -> None:
        self.history.write(series, milliseconds(NOW) + 10 * HOUR_MS)


def constant(
    metric: Metric, subject: Subject, minutes: int, value: int, owner: Owner | None = None
) -> Series:
    begin = milliseconds(NOW)
    samples = [(begin + (number + 1) * 60_000, 60_000, value) for number in range(minutes)]
    return Series.of(metric, subject, samples, **({"owner": owner} if owner is not None else {}))


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[History]:
    with UsageHistory.open(tmp_path / "usage.db") as opened:
        yield History(opened)


def subjects(made: World) -> dict[str, tuple[Subject, Owner]]:
    """Where each claim is, and the owner under which telemetry knows it."""
    found = {}
    for state in made.report().devices.devices:
        for part in state.parts:
            for holder in part.holders:
                assert holder.claim is not None
                name = "" if part.part.whole else part.part.name
                board = state.board
                subject = Subject(board.node, board.driver, board.pool, board.name, name)
                owner = Owner(
                    queue=holder.queue,
                    claim=ObjectRef(
                        kind="ResourceClaim", namespace=holder.claim.namespace, name=holder.claim.name
                    ),
                )
                found[holder.claim.name] = (subject, owner)
    return found


def test_measured_energy_of_a_split_device_follows_slices_and_activity(
    made: World, ledger: Ledger, usage: History
) -> None:
    """A busy 1g beside a busy 4g on one board: 20 : 80, whatever the idle power."""
    places = subjects(made)
    (small, small_owner), (large, large_owner) = places["small"], places["large"]
    assert small.board == large.board
    usage.write(
        constant(Metric.ENGINE_BUSY, small, 60, MILLION, small_owner),
        constant(Metric.ENGINE_BUSY, large, 60, MILLION, large_owner),
        constant(Metric.ENERGY, small.whole, 60, 350_000 * 60),
    )
    accountant = Accountant(ledger, Spending(), usage=HistoryUse(usage.history))
    look(accountant, made.after, 0)
    for minute in range(4, 61, 4):
        look(accountant, made.after, minute)

    held = {entry.account.claim: entry for entry in entries(ledger, *ALL) if entry.category.held}
    one, four = held["small"], held["large"]
    assert 4 * one.energy_mj == pytest.approx(four.energy_mj, abs=4)
    assert (one.measured_mj, one.used_ms) == (one.energy_mj, one.device_ms)
    board = [entry for entry in entries(ledger, *ALL) if entry.device == one.device]
    assert sum(entry.energy_mj for entry in board) == 350_000 * 3600


def test_samples_that_come_late_are_corrections(made: World, ledger: Ledger, usage: History) -> None:
    where, owner = subjects(made)["whole"]
    accountant = Accountant(ledger, Spending(), usage=HistoryUse(usage.history))
    look(accountant, made.after, 0)
    for minute in range(4, 65, 4):
        look(accountant, made.after, minute)
    begin = milliseconds(NOW)
    query = Query(begin, begin + HOUR_MS, where=(("claim", "whole"),))
    (before,) = sums(ledger, query)
    assert (before.amounts.known_ms, before.amounts.metered_ms) == (0, 0)

    usage.write(
        constant(Metric.SM_BUSY, where, 60, 400_000, owner), constant(Metric.ENERGY, where, 60, 300_000 * 60)
    )
    assert accountant.revise(begin, begin + HOUR_MS) == 2
    assert accountant.revise(begin, begin + HOUR_MS) == 0, "once"

    (after,) = sums(ledger, query)
    assert after.amounts.device_ms == before.amounts.device_ms == HOUR_MS
    assert after.amounts.used_ms == after.amounts.use_measured_ms * 4 // 10 == HOUR_MS * 4 // 10
    assert after.amounts.energy_mj == after.amounts.measured_mj == 300_000 * 3600
    assert {entry.kind for entry in entries(ledger, *ALL)} == {Kind.ACCRUAL, Kind.CORRECTION}
    assert problems(ledger) == ()


class Told:
    """What a controller publishes."""

    def __init__(self) -> None:
        self.snapshot, self.plan, self.version = Snapshot(), Plan(), 0
        self._changed = asyncio.Event()

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, since: int) -> int:
        while self.version <= since:
            await self._changed.wait()
        return self.version


class Watched(Accountant):
    """Tells when it has looked, and how many entries it wrote."""

    def __init__(self, ledger: Ledger, spending: Spending) -> None:
        super().__init__(ledger, spending)
        self.looks: asyncio.Queue[int] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def observe(self, now: datetime, snapshot: Snapshot, plan: Plan) -> int:
        written = super().observe(now, snapshot, plan)
        self._loop.call_soon_threadsafe(self.looks.put_nowait, written)
        return written


async def test_it_keeps_the_ledger_beside_whatever_publishes(made: World, ledger: Ledger) -> None:
    told, accountant, clock = Told(), Watched(ledger, Spending()), [NOW]
    running = asyncio.create_task(keep(accountant, told, lambda: clock[0]))
    try:
        async with asyncio.timeout(60):
            told.publish(made.after)
            await accountant.looks.get()
            clock[0] = NOW + timedelta(minutes=2)
            told.publish(made.before)
            while not await accountant.looks.get():
                pass
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    held = [entry for entry in entries(ledger, *ALL) if entry.account.claim == "whole"]
    assert [(entry.device_ms, entry.category) for entry in held] == [(120_000, Category.EXCLUSIVE)]
    assert held[0].start_ms == milliseconds(NOW)


async def test_alerts_of_budgets_are_told_once_whoever_keeps_the_ledger(made: World, ledger: Ledger) -> None:
    budget = Budget(
        name="red", selects=(("queue", "red"),), period=Period.MONTH, amount_micros=1000, alert_percent=(100,)
    )
    price = Price(name="all", match=Match(), basis=Basis.OWN, micros_per_hour=MILLION, per_device=True)
    spending = Spending(book=PriceBook(prices=(price,)), budgets=(budget,))
    look(Accountant(ledger, spending), made.after, 0)
    look(Accountant(ledger, spending), made.before, 4)

    heard: list[Alert] = []

    async def hear(alert: Alert) -> bool:
        heard.append(alert)
        return True

    for _ in range(2):
        told, accountant = Told(), Watched(ledger, spending)
        running = asyncio.create_task(keep(accountant, told, lambda: NOW + timedelta(hours=2), hear))
        async with asyncio.timeout(60):
            told.publish(made.before)
            await accountant.looks.get()
            told.publish(made.before)
            await accountant.looks.get()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    assert [(alert.budget, alert.level, alert.subject) for alert in heard] == [("red", 100, ("Queue", "red"))]
