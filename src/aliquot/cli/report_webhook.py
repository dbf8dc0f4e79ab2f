"""Telling others about budgets: a webhook, bounded in time and size, and a file of metrics."""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from aliquot.accounting.budgets import Alert, BudgetState
from aliquot.accounting.price_files import milliseconds

TIMEOUT_S = 10.0
MOST_ANSWER = 65_536


class WebhookError(Exception):
    """The webhook at `host` did not take an alert: `problem`. The address may hold a secret: it is not
    told."""

    def __init__(self, host: str, problem: str) -> None:
        super().__init__(f"webhook {host}: {problem}")
        self.host = host
        self.problem = problem


def read_address(path: Path) -> str:
    """The address in a file that others cannot read. Raises OSError, ValueError."""
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        raise ValueError("others may read or write it; chmod 600")
    address = path.read_text("utf-8")[:4096].strip()
    parts = urlsplit(address)
    loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if (
        not parts.hostname
        or parts.scheme not in ("https", "http")
        or (parts.scheme == "http" and not loopback)
    ):
        raise ValueError("holds no https:// address")
    return address


async def post(address: str, alert: Alert) -> None:
    """Send an alert as JSON. Redirects are not followed. Raises WebhookError."""
    host = urlsplit(address).hostname or ""
    body = {
        "kind": "BudgetAlert",
        "apiVersion": "aliquot.dev/v1alpha1",
        "budget": alert.budget,
        "periodStart": alert.start.isoformat(),
        "levelPercent": alert.level,
        "spentMicros": alert.spent_micros,
        "amountMicros": alert.amount_micros,
        "currency": alert.currency,
        "text": alert.text,
    }
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(address, json=body, allow_redirects=False) as answer,
        ):
            await answer.content.read(MOST_ANSWER)
            if not 200 <= answer.status < 300:
                raise WebhookError(host, f"answered {answer.status}")
    except TimeoutError:
        raise WebhookError(host, f"did not answer within {TIMEOUT_S:.0f} s") from None
    except aiohttp.ClientError as error:
        raise WebhookError(host, type(error).__name__) from None


def metrics(states: Sequence[BudgetState], currency: str) -> str:
    """Budgets in Prometheus' text format, for a node exporter's textfile collector or a push gateway."""

    def family(name: str, what: str, values: Iterable[tuple[str, str]]) -> Iterable[str]:
        yield f"# HELP {name} {what}"
        yield f"# TYPE {name} gauge"
        for labels, value in values:
            yield f"{name}{{{labels}}} {value}"

    def label(state: BudgetState) -> str:
        name = state.budget.name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        return f'budget="{name}",currency="{currency}",period="{state.budget.period}"'

    lines: list[str] = []
    lines += family(
        "aliquot_budget_amount",
        "What may be spent in the period.",
        ((label(state), f"{state.budget.amount_micros / 1e6:.6f}") for state in states),
    )
    lines += family(
        "aliquot_budget_spent",
        "What was spent in the period so far.",
        ((label(state), f"{state.spent_micros / 1e6:.6f}") for state in states),
    )
    lines += family(
        "aliquot_budget_period_start_seconds",
        "When the period began.",
        ((label(state), str(milliseconds(state.start) // 1000)) for state in states),
    )
    return "\n".join(lines) + "\n"
