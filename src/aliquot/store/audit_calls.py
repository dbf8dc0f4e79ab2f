"""Calls of models as events of the audit log, from what the gateway knows of them.

One event for each call: it was refused, or it was let through and ended. Telling a call twice (after a crash,
say) leaves one record, the first.
"""

from aliquot.audit.record import Event, Kind, Outcome
from aliquot.budgets.spending import Call, Caller, TokenUse
from aliquot.budgets.spending import Outcome as Ended

_OUTCOMES = {
    Ended.COMPLETED: Outcome.COMPLETED,
    Ended.ABORTED: Outcome.ABORTED,
    Ended.CUT: Outcome.CUT,
    Ended.FAILED: Outcome.FAILED,
    Ended.LOST: Outcome.LOST,
}


def ended(use: TokenUse, *, currency: str = "", private: dict[str, str] | None = None) -> Event:
    """A call that was let through. private: beside the user what a policy says is kept, such as a prompt."""
    caller = use.caller
    details: dict[str, str | int | bool] = {"basis": use.basis.value, "started_us": use.started_us}
    if use.served_by:
        details["served_by"] = use.served_by
    return Event(
        event=f"call/{use.request}",
        time_us=use.ended_us,
        kind=Kind.CALL,
        outcome=_OUTCOMES[use.outcome],
        action=use.endpoint.value,
        request=use.request,
        namespace=caller.namespace,
        service_account=caller.service_account,
        agent=caller.agent,
        session=caller.session,
        key=caller.key,
        queue=caller.queue,
        asked=use.asked,
        model=use.model,
        upstream=use.upstream,
        policy=use.decision,
        input_tokens=use.input_tokens,
        cached_tokens=use.cached_tokens,
        output_tokens=use.output_tokens,
        cost_nano=use.cost_nano or 0,
        currency=currency if use.cost_nano is not None else "",
        microjoules=use.microjoules or 0,
        details=details,
        private={"user": caller.user, **(private or {})},
    )


def refused(
    call: Call,
    caller: Caller,
    now_us: int,
    *,
    policy: str,
    reason: str,
    private: dict[str, str] | None = None,
) -> Event:
    """A call that was refused. policy: what decided, such as `tokenbudget/team-a`; reason: its word."""
    return Event(
        event=f"call/{call.request}",
        time_us=now_us,
        kind=Kind.CALL,
        outcome=Outcome.DENIED,
        action=call.endpoint.value,
        request=call.request,
        namespace=caller.namespace,
        service_account=caller.service_account,
        agent=caller.agent,
        session=caller.session,
        key=caller.key,
        queue=caller.queue,
        asked=call.model,
        policy=policy,
        reason=reason,
        private={"user": caller.user, **(private or {})},
    )
