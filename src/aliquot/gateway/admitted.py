"""A call that may go on: what it holds, and that it is settled once."""

from typing import Protocol

import msgspec

from aliquot.budgets.charging import Rates
from aliquot.budgets.definition import ModelTerms
from aliquot.budgets.holding import Gauge, Granted
from aliquot.budgets.spending import Basis, Call, Caller, Outcome, TokenUse
from aliquot.budgets.tree import CountedLimit
from aliquot.store.budgets import Clock


class Plan(msgspec.Struct, frozen=True):
    """What a caller's calls on a model touch."""

    terms: ModelTerms
    rates: Rates
    limits: tuple[CountedLimit, ...]


class Booking(Protocol):
    """Who answers for what an admitted call holds (`admission.Desk`)."""

    @property
    def clock(self) -> Clock: ...

    async def more(self, admitted: "Admitted", units: int) -> int: ...

    async def settle(self, admitted: "Admitted", use: TokenUse) -> None: ...


class Admitted:
    """A call that may go on. Settled exactly once, whatever happens.

    units: output tokens that are held (all choices). left: those that could be held now at most, None if no
    limit bounds output. ceiling: output tokens that the upstream may generate at most. plan: the model it
    goes to and the limits it touches. unchecked: the store did not answer and the configuration lets such
    calls pass; they are recorded in no counter. mark: what the answer to an agent carries (`nesting`).
    """

    __slots__ = (
        "_desk",
        "call",
        "caller",
        "ceiling",
        "gauges",
        "left",
        "mark",
        "plan",
        "settled",
        "started_us",
        "unchecked",
        "units",
    )

    def __init__(
        self,
        desk: "Booking",
        call: Call,
        caller: Caller,
        plan: Plan,
        started_us: int,
        granted: Granted | None,
        most: int,
        left: int | None,
    ) -> None:
        self._desk = desk
        self.call = call
        self.caller = caller
        self.plan = plan
        self.started_us = started_us
        self.units = granted.units if granted else 0
        self.gauges: tuple[Gauge, ...] = granted.gauges if granted else ()
        self.left = left
        self.ceiling = most if left is None else min(most, left)
        self.unchecked = granted is None
        self.settled = False
        self.mark = b""

    @property
    def model(self) -> str:
        return self.plan.terms.name

    async def more(self, units: int) -> int:
        """Hold up to `units` more output tokens; how many were held, 0 if there is no room."""
        return await self._desk.more(self, units)

    async def settle(
        self,
        *,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        basis: Basis,
        outcome: Outcome,
        upstream: str,
        served_by: str = "",
        prefill_us: int | None = None,
        decode_us: int | None = None,
    ) -> TokenUse | None:
        """Book what was used, once; None if it was settled before."""
        if self.settled:
            return None
        self.settled = True
        rates = self.plan.rates
        use = TokenUse(
            request=self.call.request,
            started_us=self.started_us,
            ended_us=self._desk.clock(),
            caller=self.caller,
            endpoint=self.call.endpoint,
            model=self.model,
            asked=self.call.model,
            upstream=upstream,
            served_by=served_by,
            input_tokens=input_tokens,
            cached_tokens=cached_tokens,
            output_tokens=output_tokens,
            basis=basis,
            outcome=outcome,
            prefill_us=prefill_us,
            decode_us=decode_us,
            cost_nano=rates.cost_nano(input_tokens, cached_tokens, output_tokens),
            microjoules=rates.microjoules(input_tokens, output_tokens),
            decision=self.decision,
        )
        await self._desk.settle(self, use)
        return use

    async def settle_unsent(self) -> None:
        """No upstream has worked on the call: everything is given back."""
        await self.settle(
            input_tokens=0, output_tokens=0, basis=Basis.MEASURED, outcome=Outcome.FAILED, upstream=""
        )

    @property
    def decision(self) -> str:
        """What allowed the call, for records."""
        if self.unchecked:
            return "unchecked"
        return ",".join(dict.fromkeys(limit.budget.name for limit in self.plan.limits)) or "unbudgeted"
