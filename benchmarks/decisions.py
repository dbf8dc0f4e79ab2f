"""What it takes to decide on a call: hold and settle on a tree of three budgets, in each store."""

import asyncio
import time
from pathlib import Path

from aliquot.budgets.definition import ModelTerms, parse_budget
from aliquot.budgets.spending import Basis, Call, Caller, Endpoint, Outcome
from aliquot.budgets.tree import BudgetTree
from aliquot.gateway.admission import Desk
from aliquot.gateway.admitted import Admitted
from aliquot.store.budgets import BudgetStore
from aliquot.store.budgets_postgres import PostgresBudgets
from aliquot.store.budgets_sqlite import SqliteBudgets


def decision_desk(store: BudgetStore) -> tuple[Desk, Caller]:
    """A desk with a tree of three budgets and six limits."""
    limits = [
        {"measure": "totalTokens", "per": "day", "amount": 10**12},
        {"measure": "requests", "per": "minute", "amount": 10**9},
    ]
    chain = [("company", ""), ("research", "company"), ("ada", "research")]
    tree = BudgetTree(
        parse_budget(
            name, {"parent": parent, "limits": limits, "subject": {"user": "ada"} if name == "ada" else {}}
        )
        for name, parent in chain
    )
    return Desk(store, tree, {"mock": ModelTerms(name="mock")}), Caller(user="ada")


async def decisions(store: BudgetStore, count: int, together: int) -> tuple[list[float], list[float]]:
    """Milliseconds that each decision took, a hold; its settlement follows and is not timed.

    On the clock, and of this process's processor time, which what else runs on the machine does not lengthen.
    """
    desk, caller = decision_desk(store)
    taken: list[float] = []
    worked: list[float] = []

    async def one(number: int) -> None:
        call = Call(
            request=f"{id(desk)}-{number}",
            model="mock",
            endpoint=Endpoint.CHAT,
            prompt_bound=500,
            max_output=64,
        )
        begun, began_work = time.perf_counter(), time.process_time()
        admitted = await desk.admit(call, caller)
        taken.append((time.perf_counter() - begun) * 1000)
        worked.append((time.process_time() - began_work) * 1000)
        assert isinstance(admitted, Admitted)
        await admitted.settle(
            input_tokens=100,
            output_tokens=20,
            basis=Basis.MEASURED,
            outcome=Outcome.COMPLETED,
            upstream="mock",
        )

    for begin in range(0, count, together):
        await asyncio.gather(*(one(number) for number in range(begin, begin + together)))
    return sorted(taken[count // 10 :]), sorted(worked[count // 10 :])


async def decision_rows(folder: Path, postgresql: str) -> list[str]:
    """The lines of the report; without a connection string no PostgreSQL."""
    rows = [f"{'the decision alone':36} {'p50 ms':>8} {'p99 ms':>8} {'cpu p99':>8} {'per second':>11}"]

    async def measure(name: str, store: BudgetStore) -> None:
        try:
            for together, count in ((1, 4000), (32, 16_000)):
                begun = time.perf_counter()
                taken, worked = await decisions(store, count, together)
                spent = time.perf_counter() - begun
                half, most = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
                work = f"{worked[int(len(worked) * 0.99)]:8.3f}" if together == 1 else f"{'':8}"
                label = f"{name}, {together} at a time"
                rows.append(f"{label:36} {half:8.3f} {most:8.3f} {work} {count / spent:11,.0f}")
        finally:
            await store.close()

    await measure("SQLite", await SqliteBudgets.open(folder / "decisions.db"))
    if postgresql:
        await measure("PostgreSQL", await PostgresBudgets.open(postgresql))
    return rows
