"""Whether a call may go on, and as which model: hold what it may cost, and settle what it did cost.

Both data paths use this: the gateway's own proxy, and the external-processing service for Envoy.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

from aliquot.budgets.charging import Rates, UnpricedError, charges, further, rates_of, settlement
from aliquot.budgets.definition import Action, ModelTerms
from aliquot.budgets.holding import Charge, Gone, Granted, Hold, Renew, Settle, Short
from aliquot.budgets.refusals import BudgetRefusal, crossed, refusal
from aliquot.budgets.spending import Basis, Call, Caller, Outcome, TokenUse
from aliquot.budgets.tree import BudgetTree, CountedLimit
from aliquot.gateway.admitted import Admitted, Plan
from aliquot.gateway.configuration import Choice, Leases
from aliquot.gateway.verdicts import Alert, Refused, StoreDown, Unbudgeted, Unpriced
from aliquot.store.budgets import BudgetStore, BudgetStoreError, Clock, settle_lapsed, system_clock

_log = logging.getLogger(__name__)

MAX_FALLBACKS = 4
MAX_PLANS = 65_536
SETTLE_ATTEMPTS = 5


class Desk:
    """Decides on calls. One for each gateway process."""

    def __init__(
        self,
        store: BudgetStore,
        tree: BudgetTree,
        terms: dict[str, ModelTerms],
        *,
        leases: Leases | None = None,
        unbudgeted: Choice = Choice.DENY,
        on_failure: Choice = Choice.DENY,
        waiting: int = 256,
        clock: Clock = system_clock,
        on_alert: Callable[[Alert], None] | None = None,
        on_use: Callable[[TokenUse], None] | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.leases = leases or Leases()
        self.terms = terms
        self._tree = tree
        self._rates = {name: rates_of(model) for name, model in terms.items()}
        self._unbudgeted = unbudgeted
        self._on_failure = on_failure
        self._on_alert = on_alert
        self._on_use = on_use
        self._plans: OrderedDict[tuple[Caller, str], Plan] = OrderedDict()
        self._open: dict[str, Admitted] = {}
        self._throttled = asyncio.Semaphore(waiting)
        self._settling: set[asyncio.Task[None]] = set()

    def change(self, tree: BudgetTree) -> None:
        """Other budgets from now on. Calls under way end by those they began with."""
        self._tree = tree
        self._plans.clear()

    def change_terms(self, terms: dict[str, ModelTerms]) -> None:
        """Other prices and bounds of models from now on. Raises DefinitionError, and nothing is changed."""
        rates = {name: rates_of(model) for name, model in terms.items()}
        self.terms, self._rates = terms, rates
        self._plans.clear()

    @property
    def tree(self) -> BudgetTree:
        return self._tree

    @property
    def open_calls(self) -> int:
        return len(self._open)

    def plan(self, caller: Caller, model: str) -> Plan:
        """The limits of a caller on a model, remembered."""
        place = (caller, model)
        plan = self._plans.get(place)
        if plan is None:
            terms = self.terms[model]
            plan = Plan(terms, self._rates[model], self._tree.limits(caller, terms))
            self._plans[place] = plan
            if len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
        return plan

    async def admit(
        self, call: Call, caller: Caller, *, lease: Callable[[str], bool] | None = None
    ) -> Admitted | Refused:
        """Decide on a call for a known model. It waits or falls back where the budget that refuses says so.

        lease: says of a model whether a small lease is held now and more later (the pieces of its streams can
        be counted), or everything; None: always a lease for streams.
        """
        model = call.model
        first: Refused | None = None
        deadline: float | None = None
        for _ in range(MAX_FALLBACKS + 1):
            outcome = await self._once(call, caller, model, call.stream and (lease is None or lease(model)))
            while isinstance(outcome, BudgetRefusal) and outcome.action is Action.THROTTLE:
                limits = self._tree.budgets.get(outcome.budget)
                if deadline is None:
                    deadline = monotonic() + (limits.spec.on_limit.max_wait_seconds if limits else 0)
                if not await self._wait(outcome, deadline):
                    break
                outcome = await self._once(
                    call, caller, model, call.stream and (lease is None or lease(model))
                )
            if isinstance(outcome, Admitted):
                return outcome
            first = first or outcome
            if not isinstance(outcome, BudgetRefusal) or outcome.action is not Action.FALLBACK:
                return first
            budget = self._tree.budgets.get(outcome.budget)
            cheaper = budget.spec.on_limit.model if budget else ""
            if not cheaper or cheaper == model or cheaper not in self.terms:
                return first
            model = cheaper
        assert first is not None
        return first

    async def _wait(self, refused: BudgetRefusal, deadline: float) -> bool:
        """Wait for room; False if there will be none in time."""
        pause = 0.05
        if refused.never:
            return False
        if refused.free_at_us is not None:
            pause = max(0.001, (refused.free_at_us - self.clock()) / 1_000_000)
        if monotonic() + pause > deadline or self._throttled.locked():
            return False
        async with self._throttled:
            await asyncio.sleep(pause)
        return True

    async def _once(self, call: Call, caller: Caller, model: str, leased: bool) -> Admitted | Refused:
        plan = self.plan(caller, model)
        now = self.clock()
        if not plan.limits and self._unbudgeted is Choice.DENY and not self._tree.of(caller):
            return Unbudgeted(model)
        try:
            asked = charges(plan.limits, plan.rates, call.prompt_bound, model)
        except UnpricedError as error:
            return Unpriced(error.limit.budget.name, error.limit.measure, model)
        most = min(
            call.max_output or plan.terms.max_output * call.choices, plan.terms.max_output * call.choices
        )
        if call.endpoint == "embeddings":
            most = 0
        least = min(most, call.choices)
        lease = self.leases.tokens if leased and self.leases.tokens else most
        hold = Hold(
            request=call.request,
            expires_us=now + self.leases.seconds * 1_000_000,
            least=least,
            most=max(least, min(most, lease)),
            charges=asked,
            lost=self._lost(call, caller, plan, now),
            lost_unit=_unit(plan.rates),
        )
        try:
            result = await self.store.apply(hold)
        except BudgetStoreError as error:
            _log.error("%s", error)
            if self._on_failure is Choice.ALLOW:
                return Admitted(self, call, caller, plan, now, None, most, None)
            return StoreDown()
        if isinstance(result, Short):
            return refusal(plan.limits, asked, result, least, model)
        assert isinstance(result, Granted)
        self._alert(plan.limits, asked, result)
        left = _left(asked, result)
        admitted = Admitted(self, call, caller, plan, now, result, most, left)
        self._open[call.request] = admitted
        return admitted

    def _lost(self, call: Call, caller: Caller, plan: Plan, now: int) -> TokenUse:
        """What is recorded if this process dies before the call ends; see `holding.as_lost`."""
        rates, prompt = plan.rates, call.prompt_bound
        cost = None
        if rates.input_pico is not None and rates.output_pico is not None:
            cost = -(-prompt * max(rates.input_pico, rates.cached_pico or 0) // 1000)
        return TokenUse(
            request=call.request,
            started_us=now,
            ended_us=now,
            caller=caller,
            endpoint=call.endpoint,
            model=plan.terms.name,
            asked=call.model,
            upstream="",
            input_tokens=prompt,
            output_tokens=0,
            basis=Basis.UNKNOWN,
            outcome=Outcome.LOST,
            cost_nano=cost,
            microjoules=rates.microjoules(prompt, 0),
        )

    def _alert(self, limits: tuple[CountedLimit, ...], asked: tuple[Charge, ...], granted: Granted) -> None:
        if self._on_alert is None:
            return
        for limit, charge, gauge in zip(limits, asked, granted.gauges, strict=True):
            after = gauge.spent + gauge.held
            # Most calls are far below the first threshold: one comparison for each limit.
            if after * 100 < limit.limit * min(limit.budget.spec.alerts_at_percent, default=101):
                continue
            before = after - charge.fixed - charge.per_unit * granted.units
            percent = crossed(limit, before, after)
            if percent is not None:
                self._on_alert(
                    Alert(
                        budget=limit.budget.name,
                        counter=limit.counter,
                        measure=limit.measure,
                        window=limit.window,
                        percent=percent,
                        limit=limit.limit,
                        reached=after,
                    )
                )

    async def more(self, admitted: Admitted, units: int) -> int:
        """Hold more for a call under way; 0 if there is no room, or its hold has expired."""
        if admitted.unchecked:
            return units
        wanted = further(admitted.plan.limits, admitted.plan.rates, admitted.model)
        try:
            result = await self.store.apply(
                Hold(
                    request=admitted.call.request,
                    expires_us=self.clock() + self.leases.seconds * 1_000_000,
                    least=1,
                    most=units,
                    charges=wanted,
                    more=True,
                )
            )
        except BudgetStoreError as error:
            _log.error("%s", error)
            return units if self._on_failure is Choice.ALLOW else 0
        if not isinstance(result, Granted):
            return 0
        admitted.units += result.units
        return result.units

    async def settle(self, admitted: Admitted, use: TokenUse) -> None:
        """Book a use. If the store fails it is tried again; a hold that is never settled counts in full."""
        self._open.pop(admitted.call.request, None)
        if self._on_use is not None:
            self._on_use(use)
        if admitted.unchecked:
            return
        operation = Settle(request=use.request, amounts=settlement(admitted.plan.limits, use), use=use)
        try:
            await self._book(operation)
        except BudgetStoreError as error:
            _log.error("%s", error)
            task = asyncio.get_running_loop().create_task(self._book_later(operation))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _book(self, operation: Settle) -> None:
        if isinstance(await self.store.apply(operation), Gone):
            _log.warning("request %s was settled as lost before it ended", operation.request)

    async def _book_later(self, operation: Settle) -> None:
        pause = 0.2
        for _ in range(SETTLE_ATTEMPTS):
            await asyncio.sleep(pause)
            pause *= 3
            try:
                await self._book(operation)
                return
            except BudgetStoreError as error:
                _log.error("%s", error)
        _log.error("request %s could not be settled; its hold will count as used", operation.request)

    async def keep(self) -> None:
        """Renew the holds of open calls and settle what dead processes left; runs until cancelled."""
        pause = max(1.0, self.leases.seconds / 3)
        await self._sweep()
        while True:
            await asyncio.sleep(pause)
            expires = self.clock() + self.leases.seconds * 1_000_000
            renewals = [
                self.store.apply(Renew(request=request, expires_us=expires))
                for request, call in list(self._open.items())
                if not call.unchecked
            ]
            for outcome in await asyncio.gather(*renewals, return_exceptions=True):
                if isinstance(outcome, BudgetStoreError):
                    _log.error("%s", outcome)
                    break
            await self._sweep()

    async def _sweep(self) -> None:
        try:
            for use in await settle_lapsed(self.store, self.clock()):
                if self._on_use is not None:
                    self._on_use(use)
        except BudgetStoreError as error:
            _log.error("%s", error)

    async def close(self) -> None:
        """Wait for settlements that are tried again."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=10)


def _unit(rates: Rates) -> tuple[int, int]:
    return (-(-(rates.output_pico or 0) // 1000), rates.output_microjoules or 0)


def _left(asked: tuple[Charge, ...], granted: Granted) -> int | None:
    """Output tokens for which there is room, those that are held included; None without a limit."""
    left: int | None = None
    for charge, gauge in zip(asked, granted.gauges, strict=True):
        if charge.per_unit:
            room = (charge.limit - gauge.spent - gauge.held) // charge.per_unit + granted.units
            left = room if left is None else min(left, room)
    return left
