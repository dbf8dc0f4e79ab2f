"""Alerts of budgets as Kubernetes events."""

import asyncio
import secrets
from datetime import UTC, datetime

from aliquot.accounting.budgets import Alert
from aliquot.kube.client import Client
from aliquot.kube.config import Connection
from aliquot.kube.credentials import CredentialError
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.leases import micro_time
from aliquot.kube.resources import EVENTS

NAMESPACE = "default"
"""Events about objects that are in no namespace are kept here, as the API server wants it."""

TIMEOUT_S = 20.0
_API_VERSIONS = {"Queue": "aliquot.dev/v1alpha1", "Namespace": "v1"}


class EventError(Exception):
    """The event about `budget` was not written: `problem`."""

    def __init__(self, budget: str, problem: str) -> None:
        super().__init__(f"the event about budget {budget} was not written: {problem}")
        self.budget = budget
        self.problem = problem


async def write_event(connection: Connection, alert: Alert) -> None:
    """Write an alert as `tell_by_event` does, with a client of its own. Raises EventError."""
    async with Client(connection) as client:
        await tell_by_event(client, alert)


async def tell_by_event(client: Client, alert: Alert) -> None:
    """Write a Warning `BudgetReached` on the budget's Queue, else its Namespace. Raises EventError.

    A budget of neither (of a label, say) has no object of its own; its events are about the namespace that
    they are kept in.
    """
    kind, name = alert.subject
    if not kind:
        kind, name = "Namespace", NAMESPACE
    document = {
        "apiVersion": EVENTS.api_version,
        "kind": "Event",
        "metadata": {"name": f"budget.{secrets.token_hex(8)}", "namespace": NAMESPACE},
        "type": "Warning",
        "reason": "BudgetReached",
        "action": "Report",
        "note": alert.text[:1000],
        "eventTime": micro_time(datetime.now(UTC)),
        "reportingController": "aliquot.dev/report",
        "reportingInstance": "aliquot-report",
        "regarding": {"apiVersion": _API_VERSIONS[kind], "kind": kind, "name": name},
    }
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await client.create(EVENTS, document, NAMESPACE)
    except TimeoutError:
        raise EventError(alert.budget, f"no answer within {TIMEOUT_S:.0f} s") from None
    except (ApiError, TransportError, CredentialError) as error:
        raise EventError(alert.budget, str(error)) from None
