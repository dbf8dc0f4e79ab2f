"""The gateway as a process of its own, loaded, aborted and killed: nothing is counted twice or lost."""

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.budgets import postgres
from tests.gateway.raw import request
from tests.gateway.upstream import Server, serving

from aliquot.audit.record import Outcome as Recorded
from aliquot.audit.record import read
from aliquot.budgets.charging import used
from aliquot.budgets.definition import Measure
from aliquot.budgets.holding import Gauge
from aliquot.budgets.spending import Outcome, TokenUse
from aliquot.gateway.callers import new_key
from aliquot.gateway.configuration import load
from aliquot.gateway.server import open_store
from aliquot.store.audit import AuditLog
from aliquot.store.budgets import settle_lapsed, system_clock

LEASE = 16
COMPANY, TEAM = 9_000, 3_000


def configuration(folder: Path, upstream: str, store: dict[str, Any], name: str = "gateway") -> Path:
    tokens = {"measure": "outputTokens", "per": "day"}
    teams = [
        {
            "name": f"team{number}",
            "parent": "company",
            "subject": {"namespace": f"team{number}"},
            "limits": [
                {**tokens, "amount": TEAM},
                {"measure": "requests", "per": "day", "amount": 10_000},
                {"measure": "concurrency", "amount": 200},
                {"measure": "money", "per": "month", "amount": "100"},
            ],
        }
        for number in range(5)
    ]
    document = {
        "listen": {"port": 0},
        "store": store,
        "upstreams": [
            {"name": "tiny", "url": upstream, "kind": "vllm", "models": {"tiny": "tiny"}, "healthPath": ""}
        ],
        "models": [{"name": "tiny", "maxOutput": 64, "inputPrice": "1", "outputPrice": "2"}],
        "budgets": [{"name": "company", "limits": [{**tokens, "amount": COMPANY}]}, *teams],
        "leases": {"tokens": LEASE, "seconds": 2},
        "audit": f"{name}-audit.db",
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


class Process:
    """A gateway in a process of its own."""

    def __init__(self, config: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aliquot", "gateway", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the gateway does not start"
        self.port = int(line.rsplit(":", 1)[1].removesuffix("/v1"))

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()


async def call(port: int, key: str, draw: random.Random) -> None:
    """One call, perhaps streamed, perhaps left in the middle; errors of every kind are part of it."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": f"call {draw.random()}"}],
        "max_tokens": draw.randrange(1, 64),
        "stream": draw.random() < 0.6,
        "min_tokens": draw.randrange(1, 64),
    }
    leave = draw.random() < 0.3
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request(key, body))
                if leave:
                    await reader.read(draw.randrange(1, 2000))
                    writer.transport.abort()
                else:
                    await reader.read()
            finally:
                writer.close()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    if request.param == "sqlite":
        yield {"sqlite": "budgets.db"}
        return
    with postgres.server() as conninfo:
        (tmp_path / "postgresql").write_text(conninfo)
        yield {"postgresqlFile": "postgresql"}


async def audited(config: Path) -> tuple[list[TokenUse], dict[str, Gauge]]:
    """What is recorded and what the counters say, after what dead processes held has lapsed."""
    found = await open_store(load(config))
    try:
        async with asyncio.timeout(30):
            while True:
                await settle_lapsed(found, system_clock())
                gauges = await found.gauges()
                if not any(gauge.held for gauge in gauges.values()):
                    break
                await asyncio.sleep(0.1)
        uses: list[TokenUse] = []
        after = 0
        while page := await found.uses(after):
            uses += [use for _, use in page]
            after = page[-1][0]
        return uses, dict(gauges)
    finally:
        await found.close()


def check(uses: list[TokenUse], gauges: dict[str, Gauge], upstream: Server) -> None:
    assert len({use.request for use in uses}) == len(uses)
    for counter, gauge in gauges.items():
        name, measure = counter.split("|")[:2]
        mine = [use for use in uses if name in ("company", use.caller.namespace)]
        assert gauge == Gauge(sum(used(Measure(measure), use) for use in mine), 0), counter
    # Of an aborted stream the gateway cannot see what was generated after it closed the connection.
    left = sum(use.outcome is Outcome.ABORTED for use in uses)
    assert sum(use.output_tokens for use in uses) >= upstream.generated - LEASE * left
    # Whole answers never pass a limit; a stream that is cut may by its last lease.
    cut = sum(use.outcome is Outcome.CUT for use in uses)
    assert gauges["company|outputTokens|day|"].spent <= COMPANY + LEASE * cut


async def load_of(port: int, keys: list[str], draw: random.Random, calls: int) -> None:
    await asyncio.gather(*(call(port, draw.choice(keys), random.Random(draw.random())) for _ in range(calls)))


def make_keys(config: Path) -> list[str]:
    async def make() -> list[str]:
        found = await open_store(load(config))
        try:
            texts = []
            for number in range(5):
                text, record = new_key(system_clock(), namespace=f"team{number}")
                await found.add_key(record)
                texts.append(text)
            return texts
        finally:
            await found.close()

    return asyncio.run(make())


def test_a_gateway_killed_in_the_middle_loses_nothing(tmp_path: Path, store: dict[str, Any]) -> None:
    draw = random.Random(8)
    upstream = Server(continuous=True)
    upstream.delay = 0.001
    with serving(upstream) as url:
        config = configuration(tmp_path, url, store)
        keys = make_keys(config)
        for kill in (True, True, False):
            process = Process(config)

            async def round_of(process: Process = process, kill: bool = kill) -> None:
                loading = asyncio.create_task(load_of(process.port, keys, draw, 120))
                if kill:
                    # The kill falls in the middle of calls: when some of them have arrived upstream.
                    before = len(upstream.requests)
                    while len(upstream.requests) < before + 25 and not loading.done():  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                    process.process.kill()
                await loading

            asyncio.run(round_of())
            process.end(signal.SIGKILL if kill else signal.SIGTERM)
        uses, gauges = asyncio.run(audited(config))

    assert any(use.outcome is Outcome.LOST for use in uses)
    assert any(use.outcome is Outcome.COMPLETED for use in uses)
    check(uses, gauges, upstream)


@pytest.mark.prove
def test_a_thousand_callers_on_a_hierarchy(tmp_path: Path, store: dict[str, Any]) -> None:
    draw = random.Random(21)
    upstream = Server(continuous=True)
    upstream.delay = 0.0005
    upstream.faults = random.Random(5)
    with serving(upstream) as url:
        config = configuration(tmp_path, url, store)
        keys = make_keys(config)
        process = Process(config)
        asyncio.run(load_of(process.port, keys, draw, 1_000))
        process.end(signal.SIGTERM)
        uses, gauges = asyncio.run(audited(config))

    check(uses, gauges, upstream)
    assert gauges["company|outputTokens|day|"].spent > COMPANY // 2


def recorded(log: Path, uses: list[TokenUse], gauges: dict[str, Gauge]) -> None:
    """The chain of an audit log is whole, has every settled call once, and adds up to what counters say."""
    with AuditLog.open(log, read_only=True) as found:
        assert list(found.problems()) == []
        events = [read(record.body) for record in found.records()]
    calls = [event for event in events if event.outcome is not Recorded.DENIED]
    assert sorted(event.request for event in calls) == sorted(use.request for use in uses)
    for counter, gauge in gauges.items():
        name, measure = counter.split("|")[:2]
        mine = [event for event in calls if name in ("company", event.namespace)]
        amounts = {
            "outputTokens": sum(event.output_tokens for event in mine),
            "requests": len(mine),
            "money": sum(event.cost_nano for event in mine),
            "concurrency": 0,
        }
        assert gauge.spent == amounts[measure], counter


async def killed_at_random(
    processes: list[Process], keys: list[str], draw: random.Random, upstream: Server
) -> None:
    """Calls to all of the gateways, each of which is killed at some point of them."""
    most = 60 * len(processes)
    moments = [len(upstream.requests) + draw.randrange(most) for _ in processes]
    loading = asyncio.gather(*(load_of(one.port, keys, draw, 60) for one in processes))
    for process, moment in sorted(zip(processes, moments, strict=True), key=lambda item: item[1]):
        while len(upstream.requests) < moment and not loading.done():  # noqa: ASYNC110
            await asyncio.sleep(draw.random() * 0.002)
        process.process.kill()
    await loading


@pytest.mark.prove
def test_whenever_gateways_are_killed_the_record_adds_up_to_the_counters(
    tmp_path: Path, store: dict[str, Any]
) -> None:
    draw = random.Random(1)
    upstream = Server(continuous=True)
    upstream.delay = 0.001
    upstream.faults = random.Random(6)
    # A SQLite file has one gateway; a database has several, each with an audit log of its own.
    names = ["a"] if "sqlite" in store else ["a", "b"]
    with serving(upstream) as url:
        configs = [configuration(tmp_path, url, store, name) for name in names]
        keys = make_keys(configs[0])
        for _ in range(3):
            processes = [Process(config) for config in configs]
            asyncio.run(killed_at_random(processes, keys, draw, upstream))
            for process in processes:
                process.end(signal.SIGKILL)
        uses, gauges = asyncio.run(audited(configs[0]))
        for config in configs:
            # What was settled while no gateway ran is recorded by the next.
            Process(config).end(signal.SIGTERM)

    assert {Outcome.LOST, Outcome.COMPLETED, Outcome.FAILED} <= {use.outcome for use in uses}
    check(uses, gauges, upstream)
    for name in names:
        recorded(tmp_path / f"{name}-audit.db", uses, gauges)
