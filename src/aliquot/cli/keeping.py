"""What the controller keeps beside its decisions: how devices are used, and who pays for them."""

import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute

from aliquot.accounting.budgets import Alert
from aliquot.accounting.price_files import Spending
from aliquot.cli.automation import Automation, automation
from aliquot.cli.failures import Failure
from aliquot.cli.fleet_prices import micros_of_cluster, prices_of_cluster, told
from aliquot.cli.report_events import EventError, tell_by_event
from aliquot.cli.report_input import LEDGER, read_spending
from aliquot.cli.telemetry_sources import telemetry_settings
from aliquot.controller.live import Live
from aliquot.inventory.report import Report
from aliquot.kube.client import Client
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_accountant import Accountant, keep
from aliquot.store.ledger_database import LedgerError
from aliquot.store.ledger_usage import HistoryUse
from aliquot.store.usage import UsageHistory
from aliquot.store.usage_schema import HistoryError
from aliquot.telemetry.settings import Settings
from aliquot.web.sizing.routes import routes as sizing_routes
from aliquot.web.sizing.sizes import Sizes
from aliquot.web.spending.routes import routes as spending_routes
from aliquot.web.usage.recording import Recorder
from aliquot.web.usage.routes import routes as usage_routes

USAGE = "usage.db"

Part = Callable[[], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Choices:
    """As given on the command line, "" or None where left out. ledger: a file or a PostgreSQL address."""

    ledger: str = ""
    prices: Path | None = None
    telemetry: str = ""
    prometheus: str = ""
    automation: Path | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """The open ledger and history of use; history: None where nothing says how devices are used.
    automation: what is done without anybody asking, None for nothing."""

    ledger: Ledger
    place: str
    spending: Spending
    settings: Settings
    history: UsageHistory | None
    accountant: Accountant
    policy: Policy
    automation: Automation | None = None

    def parts(self, client: Client, live: Live, registry: CollectorRegistry | None = None) -> list[Part]:
        """What the leader does beside deciding. registry: where its metrics belong."""

        async def tell(alert: Alert) -> bool:
            try:
                await tell_by_event(client, alert)
            except EventError as error:
                _log.warning("%s", error)
                return False
            return True

        found: list[Part] = [lambda: keep(self.accountant, live, lambda: datetime.now(UTC), tell)]
        if self.history is not None:
            recorder = Recorder(
                self.settings,
                self.history,
                lambda: live.snapshot,
                policy=self.policy,
                tell=lambda text: _log.warning("usage: %s", text),
            )
            found.append(recorder.run)
        if self.automation is not None:
            found += self.automation.parts(client, live, self.policy, registry or CollectorRegistry())
        return found

    def pages(self, live: Live) -> list[BaseRoute]:
        """The pages of use, of sizes and of spending."""
        place, book = self.place, self.spending.book

        async def nothing() -> None:
            return None

        def prices(report: Report) -> tuple[dict[str, int], str]:
            found = prices_of_cluster(book, report)
            return {model: item.micros_per_hour for model, item in found.items()}, told(book, found)

        return [
            *usage_routes(live, self.settings, self.history),
            *spending_routes(lambda: Ledger.open(place, read_only=True), book),
            *sizing_routes(nothing if self.history is None else Sizes(live, self.history, prices=prices).get),
        ]


@contextlib.contextmanager
def books(state: Path, choices: Choices, journal: Journal, policy: Policy) -> Iterator[Books]:
    """Open what is kept in the folder of the state. Raises Failure."""
    settings = telemetry_settings(choices.telemetry, choices.prometheus)
    spending = read_spending(choices.prices) if choices.prices is not None else Spending()
    place = choices.ledger or str(state / LEDGER)
    try:
        with contextlib.ExitStack() as stack:
            history = None
            if not settings.empty:
                history = stack.enter_context(UsageHistory.open(state / USAGE))
            ledger = stack.enter_context(Ledger.open(place))
            use = HistoryUse(history) if history is not None else None
            accountant = Accountant(ledger, spending, policy=policy, usage=use, journal=journal)
            prices = partial(micros_of_cluster, spending.book)
            unasked = stack.enter_context(automation(choices.automation, state, history, prices))
            yield Books(ledger, place, spending, settings, history, accountant, policy, unasked)
    except (LedgerError, HistoryError) as error:
        raise Failure(str(error)) from None
