"""What governance costs a call: the verdict on a model, the guards of an agent, a record of the audit log.

python -m benchmarks governance
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aliquot.agents.guards import AgentCall, Guards, Limits
from aliquot.approvals.model import Access, ApprovedModel, State, Weights
from aliquot.approvals.verdict import Registry, verdict
from aliquot.audit.record import Event, Kind, Outcome
from aliquot.audit.verification import Summary
from aliquot.store.audit import AuditLog

MODELS = 1_000
CALLS = 20_000
RECORDS = 40_000


def per_call(work: Callable[[int], object], count: int) -> str:
    """Median and 99th percentile in microseconds."""
    times = []
    for number in range(count):
        start = time.perf_counter_ns()
        work(number)
        times.append(time.perf_counter_ns() - start)
    times.sort()
    return f"p50 {statistics.median(times) / 1000:.1f} us, p99 {times[len(times) * 99 // 100] / 1000:.1f} us"


def verdicts() -> str:
    registry = Registry(
        ApprovedModel(
            name=f"m{number}",
            model=f"model-{number}",
            version="1",
            weights=Weights(source="hf://a/b"),
            state=State.APPROVED,
            call=Access(namespaces=("team",), queues=("research",)),
        )
        for number in range(MODELS)
    )
    return per_call(
        lambda number: verdict(
            registry, f"model-{number % MODELS}", namespace="team", queues=("vision", "research")
        ),
        CALLS,
    )


def guards() -> str:
    limits = Limits(
        calls_per_minute=10**9,
        spend_per_minute=10**15,
        tokens_per_minute=10**12,
        calls_per_task=10**9,
        rounds_per_task=10**9,
        spend_per_task=10**15,
        depth=4,
        repeats=100,
        open_calls=100,
    )
    watched = Guards(default=limits)

    def call(number: int) -> None:
        request = f"r{number}"
        asked = AgentCall(
            request=request,
            agent=f"a{number % 50}",
            task=f"t{number % 500}",
            identical=str(number % 97),
            worst_cost=10,
            worst_tokens=10,
        )
        assert watched.ask(asked, number * 1000) is None
        watched.settle(asked.agent, request, cost=5, tokens=5, now_us=number * 1000)

    return per_call(call, CALLS)


def audit(folder: Path) -> tuple[str, str]:
    with AuditLog.open(folder / "audit.db") as log:
        events = [
            Event(
                event=f"call/r{number}",
                time_us=number,
                kind=Kind.CALL,
                outcome=Outcome.COMPLETED,
                request=f"r{number}",
                namespace="team-a",
                agent="team-a/coder",
                model="llama",
                policy="tokenbudget/team-a",
                input_tokens=1000,
                output_tokens=200,
                cost_nano=123_456,
                currency="EUR",
                private={"user": "ann"},
            )
            for number in range(RECORDS)
        ]
        start = time.perf_counter()
        tickets = [log.append(event) for event in events]
        for ticket in tickets:
            ticket.result()
        written = RECORDS / (time.perf_counter() - start)
        size = sum(file.stat().st_size for file in folder.iterdir()) / RECORDS
        summary = Summary()
        start = time.perf_counter()
        assert list(log.problems(summary=summary)) == []
        verified = RECORDS / (time.perf_counter() - start)
    return f"{written:,.0f} records/s, {size:.0f} bytes each", f"{verified:,.0f} records/s"


def table() -> Iterator[str]:
    """One line for each figure."""
    yield f"verdict, {MODELS} models:   {verdicts()}"
    yield f"guards, ask and settle:  {guards()}"
    with tempfile.TemporaryDirectory() as folder:
        appended, verified = audit(Path(folder))
    yield f"audit, durable appends:  {appended}"
    yield f"audit, verification:     {verified}"
    yield f"({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})"
