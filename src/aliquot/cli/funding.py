"""Where `aliquot controller` has the money from that work has to have for its devices."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aliquot.budgets.definition import parse_budget
from aliquot.budgets.holding import Gauge
from aliquot.budgets.purses import purses_of
from aliquot.budgets.tree import BudgetTree
from aliquot.cli.failures import Failure
from aliquot.cli.keeping import Books
from aliquot.controller.funding import Funding, Source, spending_purses
from aliquot.gateway.configuration import Configuration
from aliquot.gateway.server import open_store
from aliquot.install.cluster import Cluster
from aliquot.kube.clock import SystemClock
from aliquot.model.funds import FundsSpec, Purse
from aliquot.model.snapshot import Snapshot
from aliquot.store.budgets import BudgetStore, BudgetStoreError
from aliquot.store.budgets_sqlite import read_gauges
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_reports import budget_states

API_VERSION = "aliquot.dev/v1alpha1"


@dataclass(frozen=True, slots=True)
class Advance:
    """For how many hours work has to have the money for its devices; 0: money is no matter. everybody: all
    work that a budget is about; otherwise what serves a model."""

    hours: int = 0
    everybody: bool = False


NO_ADVANCE = Advance()


def funding(
    advance: Advance,
    gateway: Configuration | None,
    kept: Books,
    cluster: Sequence[Cluster],
    snapshot: Callable[[], Snapshot],
) -> Funding | None:
    """The funds of a controller; None if money is no matter. gateway: whose budgets pay, beside those of the
    price book. cluster: holds one by the time that budgets are read. Raises Failure where there are no
    budgets, or they are in another currency than prices."""
    if not advance.hours:
        return None
    sources: list[Source] = []
    book = kept.spending.book
    if gateway is not None:
        if gateway.file.currency != book.currency:
            raise Failure(
                f"--advance-hours: budgets of the gateway are in {gateway.file.currency}, prices in"
                f" {book.currency}; write both in one currency"
            )
        sources.append(TokenPurses(gateway, cluster).read)
    if kept.spending.budgets:
        sources.append(lambda: asyncio.to_thread(_of_price_book, kept))
    if not sources:
        raise Failure(
            "--advance-hours: there are no budgets; give --gateway-config, or --prices with budgets in it"
        )
    terms = FundsSpec(hours=advance.hours, currency=book.currency, every_workload=advance.everybody)
    return Funding(terms, book, sources, snapshot, SystemClock())


def _of_price_book(kept: Books) -> Sequence[Purse]:
    with Ledger.open(kept.place, read_only=True) as ledger:
        return spending_purses(budget_states(ledger, kept.spending.budgets, datetime.now(UTC)))


class TokenPurses:
    """Reads the token budgets of a gateway's configuration and of the cluster, if the gateway follows it."""

    def __init__(self, configuration: Configuration, cluster: Sequence[Cluster]) -> None:
        self._configuration = configuration
        self._cluster = cluster
        self._store: BudgetStore | None = None

    async def read(self) -> Sequence[Purse]:
        tree = await self._tree()
        return purses_of(tree, await self._gauges(), self._configuration.terms.values())

    async def _tree(self) -> BudgetTree:
        tree, followed = self._configuration.tree, self._configuration.file.cluster
        if followed is None or not followed.budgets:
            return tree
        documents = await self._cluster[0].list(API_VERSION, "TokenBudget")
        found = [
            parse_budget(document["metadata"]["name"], document.get("spec") or {})
            for document in documents
            if document["metadata"]["name"] not in tree.budgets
        ]
        return BudgetTree([*tree.budgets.values(), *found])

    async def _gauges(self) -> Mapping[str, Gauge]:
        settings = self._configuration.file.store
        if settings.sqlite:
            path = self._configuration.path(settings.sqlite)
            if not path.exists():
                return {}
            return await asyncio.to_thread(read_gauges, path, time.time_ns() // 1000)
        if self._store is None:
            self._store = await open_store(self._configuration)
        try:
            return await self._store.gauges()
        except BudgetStoreError:
            store, self._store = self._store, None
            await store.close()
            raise
