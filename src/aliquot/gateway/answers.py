"""What callers are told: errors in the form of the OpenAI API, and headers about limits.

Headers: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as OpenAI's API has them, for the tightest
limit of each kind, and `RateLimit-Policy` and `RateLimit` of the IETF draft "RateLimit header fields for
HTTP" for every limit.
"""

from datetime import UTC, datetime

import msgspec

from aliquot.agents.guards import Stop
from aliquot.budgets.definition import Measure
from aliquot.budgets.holding import Gauge
from aliquot.budgets.refusals import BudgetRefusal
from aliquot.budgets.tree import CountedLimit
from aliquot.budgets.windows import WINDOWS, Window
from aliquot.gateway.admitted import Admitted
from aliquot.gateway.verdicts import Refused, StoreDown, Unbudgeted, Unpriced

Headers = list[tuple[bytes, bytes]]

JSON = (b"Content-Type", b"application/json")
RETRY_UNKNOWN_S = 1
"""Retry-After where room depends on calls under way."""
CLIENT_RETRIES_WITHIN_S = 60
"""Clients of the OpenAI API try again by themselves; for longer waits they are told not to."""


class CallError(Exception):
    """A call that ends with an error: its status, body and headers."""

    def __init__(self, status: int, body: bytes, headers: Headers, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.headers = headers
        self.reason = reason
        self.message = message


def failure(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str = "",
    code: str = "",
    headers: Headers | None = None,
    **more: object,
) -> CallError:
    """An error in the API's form."""
    error: dict[str, object] = {
        "message": message,
        "type": kind,
        "param": param or None,
        "code": code or None,
    }
    error |= more
    body = msgspec.json.encode({"error": error})
    return CallError(status, body, [JSON, *(headers or [])], code or kind, message)


def refusal_body(status: int, message: str) -> bytes:
    """The body of an answer to a request that is no valid HTTP for this gateway."""
    return failure(status, message).body


def refused(found: Refused, currency: str, now: int) -> CallError:
    """What a caller is told that budgets do not let through."""
    match found:
        case BudgetRefusal():
            return _over_budget(found, currency, now)
        case Unbudgeted():
            return failure(
                403,
                "No token budget is about this caller, and calls without a budget are denied. Ask for a "
                "TokenBudget whose subject is your namespace, queue, service account, agent or key.",
                kind="insufficient_quota",
                code="no_budget",
            )
        case Unpriced():
            return failure(
                403,
                f"Budget {found.budget} limits {found.measure}, and model {found.model} has no rate for it: "
                "the call cannot be bounded. Give the model prices or energy in the gateway's configuration.",
                kind="insufficient_quota",
                code="model_without_price",
            )
        case StoreDown():
            return failure(
                503,
                "Budgets cannot be checked now, so calls are denied. Try again.",
                kind="server_error",
                code="budget_store_unavailable",
                headers=[(b"Retry-After", b"2")],
            )


def _over_budget(found: BudgetRefusal, currency: str, now: int) -> CallError:
    message = found.sentence(currency)
    headers: Headers = []
    at = None
    if found.never:
        headers.append((b"x-should-retry", b"false"))
    else:
        wait = RETRY_UNKNOWN_S
        if found.free_at_us is not None:
            wait = max(1, -(-(found.free_at_us - now) // 1_000_000))
            at = (
                datetime.fromtimestamp(-(-found.free_at_us // 1_000_000), UTC)
                .isoformat()
                .replace("+00:00", "Z")
            )
            message += f" There will be room at {at}."
        else:
            message += " There will be room when calls under way have ended."
        headers.append((b"Retry-After", b"%d" % wait))
        if wait > CLIENT_RETRIES_WITHIN_S:
            headers.append((b"x-should-retry", b"false"))
    scale = found.measure.scale
    return failure(
        429,
        message,
        kind="insufficient_quota" if found.window in (Window.DAY, Window.MONTH) else "rate_limit_exceeded",
        code="budget_exceeded",
        headers=headers,
        budget={
            "name": found.budget,
            "measure": found.measure.value,
            "per": found.window.value,
            "limit": _number(found.limit, scale),
            "left": _number(max(found.left, 0), scale),
            "needed": _number(found.needed, scale),
            "roomAt": at,
            "model": found.model,
        },
    )


def _number(value: int, scale: int) -> int | float:
    return value if scale == 1 else value / scale


def stopped(found: Stop, now: int) -> CallError:
    """What an agent is told that a guard does not let through."""
    headers: Headers = []
    if found.retry_us is None:
        headers.append((b"x-should-retry", b"false"))
    else:
        headers.append((b"Retry-After", b"%d" % max(1, -(-(found.retry_us - now) // 1_000_000))))
    message = f"Agent {found.agent} is held back by {found.limit.value}: {found.reached} of {found.allowed}."
    if found.reason:
        message = f"Agent {found.agent} was stopped: {found.reason}."
    return failure(
        429 if found.retry_us is not None else 403,
        message,
        kind="rate_limit_exceeded",
        code=found.limit.value,
        headers=headers,
    )


def call_headers(admitted: Admitted) -> Headers:
    """What the answer to a call says of its limits, and to agents of how deep it is."""
    mark = [(b"x-aliquot-call", admitted.mark)] if admitted.mark else []
    return [*mark, *limit_headers(admitted)]


def limit_headers(admitted: Admitted) -> Headers:
    """Headers about the limits that a call touched, as they stood when it was let through."""
    limits, gauges = admitted.plan.limits, admitted.gauges
    if not gauges:
        return []
    tightest: dict[bytes, tuple[int, int, int]] = {}
    policies: list[bytes] = []
    states: list[bytes] = []
    for limit, gauge in zip(limits, gauges, strict=True):
        left = _left(limit, gauge)
        kind = _KINDS.get(limit.measure)
        seconds = WINDOWS[limit.window].length // 1_000_000
        if kind is not None and (kind not in tightest or left < tightest[kind][1]):
            tightest[kind] = (limit.limit, left, seconds)
        name = f'"{limit.budget.name}-{limit.measure.value}-{limit.window.value}"'.encode("ascii", "replace")
        scale = limit.measure.scale
        window = b"" if limit.window is Window.NOW else b";w=%d" % seconds
        policies.append(b"%b;q=%d%b" % (name, limit.limit // scale, window))
        states.append(b"%b;r=%d;t=%d" % (name, left // scale, seconds))
    headers: Headers = []
    for kind, (most, left, seconds) in tightest.items():
        headers += (
            (b"x-ratelimit-limit-" + kind, b"%d" % most),
            (b"x-ratelimit-remaining-" + kind, b"%d" % left),
            (b"x-ratelimit-reset-" + kind, b"%ds" % seconds),
        )
    headers += ((b"RateLimit-Policy", b", ".join(policies)), (b"RateLimit", b", ".join(states)))
    return headers


_KINDS: dict[Measure, bytes] = {
    Measure.REQUESTS: b"requests",
    Measure.TOTAL_TOKENS: b"tokens",
    Measure.INPUT_TOKENS: b"tokens",
    Measure.OUTPUT_TOKENS: b"tokens",
}


def _left(limit: CountedLimit, gauge: Gauge) -> int:
    return max(0, limit.limit - gauge.spent - gauge.held)
