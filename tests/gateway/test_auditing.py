"""The audit record has every call, once, and what it adds up to is what the counters say."""

from pathlib import Path

from tests.gateway.conftest import Start
from tests.gateway.raw import HELLO, exchange, request
from tests.gateway.upstream import Server

from aliquot.audit.record import Outcome, read
from aliquot.store.audit import AuditLog

PRICED = [{"name": "tiny", "inputPrice": "0.15", "outputPrice": "0.60", "maxOutput": 100}]
LIMITS = [
    {"measure": "totalTokens", "per": "day", "amount": 1_000_000},
    {"measure": "money", "per": "day", "amount": "1"},
    {"measure": "requests", "per": "day", "amount": 3},
]


async def test_calls_and_refusals_are_recorded_once(start: Start, upstream: Server, tmp_path: Path) -> None:
    budgets = [{"name": "research", "subject": {"namespace": "research"}, "limits": LIMITS}]
    for calls in (2, 2):
        async with start(budgets, models=PRICED, audit="audit.db") as running:
            for _ in range(calls):
                await exchange(running.gateway.address, request(running.key, HELLO))
            gauges = await running.gateway.desk.store.gauges()
    # A mark that was lost makes all calls be recorded again.
    (tmp_path / "audit.db.calls").unlink()
    async with start(budgets, models=PRICED, audit="audit.db") as running:
        uses = await running.uses()

    with AuditLog.open(tmp_path / "audit.db", read_only=True) as log:
        bodies = [read(record.body) for record in log.records()]
        assert list(log.problems()) == []
    calls_recorded = [body for body in bodies if body.outcome is not Outcome.DENIED]
    denied = [body for body in bodies if body.outcome is Outcome.DENIED]

    assert sorted(body.request for body in calls_recorded) == sorted(use.request for use in uses)
    assert len(calls_recorded) == 3
    assert [body.reason for body in denied] == ["budget_exceeded"]
    total = sum(body.input_tokens + body.output_tokens for body in calls_recorded)
    assert gauges["research|totalTokens|day|"].spent == total
    assert gauges["research|money|day|"].spent == sum(body.cost_nano for body in calls_recorded)
