"""The audit record of calls: one event for each settled call and for each refusal.

Settled calls are taken from the store of budgets, where they are written together with the counters, so the
record has every call even if the process died in between. How far it has come stands in a file beside the
audit log; what is recorded twice after a crash leaves one record, as events are named by their calls.
"""

import asyncio
import contextlib
import logging
from pathlib import Path

from aliquot.audit.record import Event, Kind
from aliquot.audit.record import Outcome as AuditOutcome
from aliquot.budgets.spending import Call, Caller, TokenUse
from aliquot.store.audit import AuditLog
from aliquot.store.audit_file import AuditError
from aliquot.store.budgets import BudgetStore, BudgetStoreError, Clock

_log = logging.getLogger(__name__)

EVERY_SECONDS = 0.5
PAGE = 1000


def event_of(use: TokenUse, currency: str) -> Event:
    """A settled call as an audit event. The user's name may be redacted later; prompts are never in it."""
    caller = use.caller
    return Event(
        event=f"call/{use.request}",
        time_us=use.ended_us,
        kind=Kind.CALL,
        outcome=AuditOutcome(use.outcome.value),
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
        policy=f"tokenbudget/{use.decision}" if use.decision else "",
        input_tokens=use.input_tokens,
        cached_tokens=use.cached_tokens,
        output_tokens=use.output_tokens,
        cost_nano=use.cost_nano or 0,
        currency=currency if use.cost_nano is not None else "",
        microjoules=use.microjoules or 0,
        details={"basis": use.basis.value, "startedUs": use.started_us},
        private={"user": caller.user} if caller.user else {},
    )


class Auditor:
    """Keeps the audit record of one gateway. Make it with `open`; `keep` runs until it is cancelled."""

    def __init__(self, log: AuditLog, store: BudgetStore, currency: str, clock: Clock, mark: Path) -> None:
        self._audit = log
        self._store = store
        self._currency = currency
        self._clock = clock
        self._mark = mark
        self._done = 0
        with contextlib.suppress(OSError, ValueError):
            self._done = int(mark.read_text("ascii"))

    @classmethod
    def open(cls, path: Path, store: BudgetStore, currency: str, clock: Clock) -> "Auditor":
        """Raises AuditError."""
        return cls(AuditLog.open(path), store, currency, clock, path.with_name(path.name + ".calls"))

    def refused(self, call: Call | None, caller: Caller | None, reason: str) -> None:
        """Record that a known caller was refused."""
        if call is None or caller is None:
            return
        event = Event(
            event=f"refusal/{call.request}",
            time_us=self._clock(),
            kind=Kind.CALL,
            outcome=AuditOutcome.DENIED,
            action=call.endpoint.value,
            request=call.request,
            namespace=caller.namespace,
            service_account=caller.service_account,
            agent=caller.agent,
            session=caller.session,
            key=caller.key,
            queue=caller.queue,
            asked=call.model,
            reason=reason,
            private={"user": caller.user} if caller.user else {},
        )
        try:
            self._audit.append(event)
        except AuditError as error:
            _log.error("%s", error)

    async def keep(self) -> None:
        """Record settled calls as they come."""
        while True:
            await self.catch_up()
            await asyncio.sleep(EVERY_SECONDS)

    async def catch_up(self) -> None:
        """Record all calls that are settled by now; what cannot be written is tried again later."""
        try:
            while page := await self._store.uses(self._done, PAGE):
                events = [event_of(use, self._currency) for _, use in page]
                await asyncio.to_thread(self._audit.record, events)
                self._done = page[-1][0]
                await asyncio.to_thread(self._remember)
        except (AuditError, BudgetStoreError) as error:
            _log.error("%s", error)

    def _remember(self) -> None:
        new = self._mark.with_name(self._mark.name + ".new")
        new.write_text(str(self._done), "ascii")
        new.replace(self._mark)

    async def close(self) -> None:
        """Record what is left, and let go of the log."""
        await self.catch_up()
        await asyncio.to_thread(self._audit.close)
