"""The search of mode `best`: complete within a budget of steps, cheapest devices first.

Claims, requests and alternatives are served in order; devices are tried from the cheapest on. Two rules
keep the search short without losing solutions:

- Devices that are interchangeable in the current state are tried once. If a request cannot be completed
  with one of them it cannot be with another, so the whole class is left out of the rest of that request.
- A state that led nowhere at a request is remembered; reaching it again in another order ends at once.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aliquot.cel.quantity import Quantity
from aliquot.dra.capacity import consumption
from aliquot.dra.constraints import Agreement
from aliquot.dra.demand import fits
from aliquot.dra.fleet import Fleet, Reach
from aliquot.dra.objective import Appraisal, Objective
from aliquot.dra.pools import Devices, Pool, members
from aliquot.dra.requests import MAX_RESULTS, Alternative, Blueprint
from aliquot.dra.results import Pick
from aliquot.dra.usage import PoolUsage, lacking


class Observer(Protocol):
    """Told about every device that is tried."""

    def tried(self, request: str, driver: str, pool: str, device: str, kept: bool) -> None:
        """kept: False when a constraint ruled the device out at once."""


class View:
    """A pool as the search sees it on one node: usage plus what this search has taken."""

    __slots__ = ("appraisal", "blocked", "consumed", "devices", "pool", "remaining", "shared", "taken")

    def __init__(self, pool: Pool, devices: Devices, usage: PoolUsage, appraisal: Appraisal) -> None:
        self.pool = pool
        self.devices = devices
        self.taken = usage.taken
        self.shared = usage.shared
        self.blocked = usage.blocked
        self.remaining: tuple[int, ...] = tuple(usage.remaining)
        self.consumed = usage.consumed
        self.appraisal = appraisal

    def save(self) -> tuple[int, int, int, tuple[int, ...], dict[int, dict[str, int]]]:
        return self.taken, self.shared, self.blocked, self.remaining, self.consumed

    def restore(self, saved: tuple[int, int, int, tuple[int, ...], dict[int, dict[str, int]]]) -> None:
        self.taken, self.shared, self.blocked, self.remaining, self.consumed = saved

    def take(self, index: int, amounts: "dict[str, int] | None") -> None:
        """Take a device whole, or the amounts of a shareable one."""
        bit = 1 << index
        fresh = not (self.taken | self.shared) & bit
        if amounts is None:
            self.taken |= bit
        else:
            self.shared |= bit
            if amounts:
                used = self.consumed.get(index, {})
                sums = {name: used.get(name, 0) + amount for name, amount in amounts.items()}
                self.consumed = {**self.consumed, index: {**used, **sums}}
        if fresh and self.pool.drawing & bit:
            left = list(self.remaining)
            for number, amount in self.pool.draws[index]:
                left[number] -= amount
            self.remaining = tuple(left)
            rivals = self.pool.rivals(index)
            self.blocked = (self.blocked & ~rivals) | lacking(self.pool, rivals, left)


class BudgetError(Exception):
    """The budget is used up."""


@dataclass(slots=True)
class ClaimState:
    """What a claim has got so far."""

    blueprint: Blueprint
    served: list[Alternative]
    picks: list[Pick]
    near: list[tuple[object, ...]]
    agreements: list[Agreement]
    costs: list[float]


class Search:
    """One attempt to serve all claims on one node."""

    def __init__(
        self,
        fleet: Fleet,
        views: Sequence[View],
        blueprints: Sequence[Blueprint],
        budget: int,
        objective: Objective,
        reach: Reach,
        observer: Observer | None,
    ) -> None:
        self.fleet = fleet
        self.views = views
        self.budget = budget
        self.objective = objective
        self.observer = observer
        self.steps = 0
        # A request for All must not be served while part of a pool is unknown.
        self.unclear = any(pool.problem for pool, _ in reach)
        lists = fleet.features.list_attributes
        self.claims = [
            ClaimState(
                each, [], [], [], [Agreement(constraint, lists) for constraint in each.constraints], []
            )
            for each in blueprints
        ]
        self.order = [(state, request) for state in self.claims for request in state.blueprint.requests]
        self._whole: dict[int, list[Devices]] = {}
        self._hopeless: set[Hashable] = set()
        self._static: dict[tuple[int, int], int] = {}
        self._statics: dict[Hashable, int] = {}

    def run(self) -> bool:
        """Whether all claims are served; if so, `claims` says how. Raises BudgetError."""
        for state in self.claims:
            for request in state.blueprint.requests:
                for alternative in request.alternatives:
                    if alternative.count is None:
                        self._whole[id(alternative)] = [
                            self._all_of(view, alternative) for view in self.views
                        ]
        return self._serve(0)

    @property
    def cost(self) -> float:
        return sum(sum(state.costs) for state in self.claims)

    def _all_of(self, view: View, alternative: Alternative) -> Devices:
        """The devices that a request for All stands for, fixed before anything is taken."""
        demand = alternative.demand
        found = demand.eligible(view.pool)
        wanted = found.matched & view.devices & ~(found.undersized | found.conditional)
        if view.consumed and not demand.admin:
            for index in members(wanted & view.pool.shareable):
                if not fits(view.pool, index, view.consumed.get(index), found.amounts[index]):
                    wanted &= ~(1 << index)
        return wanted

    def _serve(self, position: int) -> bool:
        """Serve all requests from a position on."""
        if position == len(self.order):
            return True
        if self._hopeless and self._fingerprint(position) in self._hopeless:
            return False
        state, request = self.order[position]
        for alternative in request.alternatives:
            state.served.append(alternative)
            if alternative.count is None:
                served = self._serve_all(position, state, alternative)
            elif len(state.picks) + alternative.count > MAX_RESULTS:
                served = False
            else:
                served = self._choose(position, state, alternative, alternative.count, [0] * len(self.views))
            if served:
                return True
            state.served.pop()
        self._hopeless.add(self._fingerprint(position))
        return False

    def _serve_all(self, position: int, state: ClaimState, alternative: Alternative) -> bool:
        wanted = self._whole[id(alternative)]
        total = sum(each.bit_count() for each in wanted)
        if self.unclear or not total or len(state.picks) + total > MAX_RESULTS:
            return False
        undo = []
        served = True
        for view, devices in zip(self.views, wanted, strict=True):
            for index in members(devices):
                # Devices of one request can draw on the same counters, so each is tested when its turn comes.
                if not self._free(view, alternative, state) >> index & 1:
                    served = False
                    break
                taken = self._take(state, alternative, view, index, 0.0)
                if taken is None:
                    served = False
                    break
                undo.append((view, taken))
            if not served:
                break
        if served and self._serve(position + 1):
            return True
        for view, taken in reversed(undo):
            self._give_back(state, view, taken)
        return False

    def _free(self, view: View, alternative: Alternative, state: ClaimState) -> Devices:
        free = alternative.demand.free(view.pool, view) & view.devices
        if alternative.demand.admin:
            # One claim does not get a device twice.
            for pick in state.picks:
                if pick.pool is view.pool:
                    free &= ~(1 << pick.number)
        elif any(each.demand.admin for each in state.served):
            for pick in state.picks:
                if pick.pool is view.pool and pick.alternative.demand.admin:
                    free &= ~(1 << pick.number)
        return free

    def _choose(
        self, position: int, state: ClaimState, alternative: Alternative, wanted: int, banned: list[Devices]
    ) -> bool:
        """Choose `wanted` more devices for a request, none of the banned, and serve the rest."""
        if not wanted:
            return self._serve(position + 1)
        candidates = self._candidates(state, alternative, wanted, banned)
        if len(candidates) < wanted:
            return False
        classes: list[Hashable] | None = None
        left_out: set[Hashable] = set()
        remaining = len(candidates)
        for at, (cost, number, index) in enumerate(candidates):
            if classes is not None and classes[at] in left_out:
                continue
            view = self.views[number]
            taken = self._take(state, alternative, view, index, cost)
            if taken is not None:
                bit = 1 << index
                banned[number] |= bit
                if self._choose(position, state, alternative, wanted - 1, banned.copy()):
                    return True
                banned[number] &= ~bit
                self._give_back(state, view, taken)
            if classes is None:
                classes = [self._class_of(state, each[1], each[2], banned) for each in candidates]
            left_out.add(classes[at])
            for other, each in enumerate(candidates):
                if classes[other] == classes[at]:
                    banned[each[1]] |= 1 << each[2]
                    remaining -= 1
            if remaining < wanted:
                return False
        return False

    def _candidates(
        self, state: ClaimState, alternative: Alternative, wanted: int, banned: list[Devices]
    ) -> list[tuple[float, int, int]]:
        """(cost, view, device) of all devices that can be chosen now, cheapest first."""
        found: list[tuple[float, int, int]] = []
        frees = [
            self._free(view, alternative, state) & ~barred
            for view, barred in zip(self.views, banned, strict=True)
        ]
        request = self.order_name(alternative)
        for agreement in state.agreements:
            if agreement.constraint.covers(request, alternative.name):
                frees = agreement.narrow(self.views, frees, wanted)
        for number, (view, free) in enumerate(zip(self.views, frees, strict=True)):
            if not free:
                continue
            costs = view.appraisal.costs(free, view, wanted, self._tainted(view), state.near)
            found.extend((cost, number, index) for index, cost in costs.items())
        found.sort()
        return found

    def _tainted(self, view: View) -> Devices:
        tainted = 0
        for index in self.fleet.taints(view.pool):
            tainted |= 1 << index
        return tainted

    @staticmethod
    def order_name(alternative: Alternative) -> str:
        """The name of the request that an alternative belongs to."""
        return alternative.name.partition("/")[0]

    def _take(
        self, state: ClaimState, alternative: Alternative, view: View, index: int, cost: float
    ) -> tuple[object, ...] | None:
        """Take a device, if the constraints allow; gives what `_give_back` needs."""
        self.steps += 1
        if self.steps > self.budget:
            raise BudgetError
        pool = view.pool
        request = self.order_name(alternative)
        before = [agreement.value for agreement in state.agreements]
        for agreement in state.agreements:
            if agreement.constraint.covers(request, alternative.name) and not agreement.add(
                pool.attribute(agreement.constraint.attribute)[index]
            ):
                for each, value in zip(state.agreements, before, strict=True):
                    each.value = value
                if self.observer is not None:
                    self._tell(alternative, pool, index, kept=False)
                return None
        saved = view.save()
        consumed: dict[str, Quantity] | None = None
        if not alternative.demand.admin:
            if pool.shareable >> index & 1:
                consumed = consumption(pool.devices[index], alternative.demand.capacity) or {}
                view.take(index, {name: amount.nano for name, amount in consumed.items()})
            else:
                view.take(index, None)
        state.picks.append(Pick(alternative, pool, index, consumed))
        state.near.append(view.appraisal.places_of(index))
        state.costs.append(cost)
        if self.observer is not None:
            self._tell(alternative, pool, index, kept=True)
        return saved, before

    def _give_back(self, state: ClaimState, view: View, taken: tuple[object, ...]) -> None:
        saved, before = taken
        view.restore(saved)  # type: ignore[arg-type]
        for agreement, value in zip(state.agreements, before, strict=True):  # type: ignore[call-overload]
            agreement.value = value
        state.picks.pop()
        state.near.pop()
        state.costs.pop()

    def _tell(self, alternative: Alternative, pool: Pool, index: int, *, kept: bool) -> None:
        if self.observer is not None:
            self.observer.tried(alternative.name, pool.driver, pool.name, pool.devices[index].name, kept)

    def _fingerprint(self, position: int) -> Hashable:
        """Everything that decides whether the requests from a position on can be served."""
        return (
            position,
            tuple((view.taken, view.shared, view.remaining, _frozen(view.consumed)) for view in self.views),
            tuple(
                (len(state.picks), tuple(agreement.value for agreement in state.agreements), _admin(state))
                for state in self.claims
            ),
        )

    def _class_of(self, state: ClaimState, number: int, index: int, banned: list[Devices]) -> Hashable:
        """Equal for devices that are interchangeable in the current state."""
        view = self.views[number]
        pool = view.pool
        bit = 1 << index
        static = (self._static_of(number, index), bool((view.taken | view.shared) & bit))
        if pool.shareable & bit:
            used = view.consumed.get(index)
            amounts = () if used is None else tuple(sorted(used.items()))
            if not pool.drawing & bit:
                return (static, amounts)
            return (static, number, index)
        if not pool.drawing & bit:
            return static
        rivals = pool.rivals(index)
        sets = {pool.counter_sets[n] for n, _ in pool.draws[index]}
        if len(sets) != 1 or rivals & pool.shareable or _admin(state):
            return (static, number, pool.draws[index])
        (only,) = sets
        start, end = pool.set_spans[only]
        geometry: list[Hashable] = []
        for member in members(rivals):
            draws = pool.draws[member]
            if any(not start <= n < end for n, _ in draws):
                return (static, number, pool.draws[index])
            available = not (view.taken | banned[number]) >> member & 1
            geometry.append(
                (self._static_of(number, member), available, tuple((n - start, a) for n, a in draws))
            )
        own = tuple((n - start, a) for n, a in pool.draws[index])
        return (static, own, view.remaining[start:end], frozenset(_counted(geometry)))

    def _static_of(self, number: int, index: int) -> int:
        """A number for all that tells devices apart but does not change during the search."""
        known = self._static.get((number, index))
        if known is None:
            view = self.views[number]
            pool = view.pool
            device = pool.devices[index]
            facts: list[Hashable] = [
                index in self.fleet.taints(pool),
                bool(device.binding_conditions),
                device.binds_to_node or pool.home(index) is not None,
                pool.node_selection(index),
                bool(view.devices >> index & 1),
                view.appraisal.places_of(index),
                pool.shareable >> index & 1,
            ]
            if pool.shareable >> index & 1:
                facts.append(tuple(sorted((n, c.value.nano) for n, c in device.capacity.items())))
            for state in self.claims:
                facts.extend(
                    pool.attribute(constraint.attribute)[index] for constraint in state.blueprint.constraints
                )
                for request in state.blueprint.requests:
                    for alternative in request.alternatives:
                        found = alternative.demand.eligible(pool)
                        facts.append((found.eligible >> index & 1, found.matched >> index & 1))
                        if index in found.amounts:
                            facts.append(tuple(sorted(found.amounts[index].items())))
            known = self._statics.setdefault(tuple(facts), len(self._statics))
            self._static[number, index] = known
        return known


def _frozen(consumed: dict[int, dict[str, int]]) -> Hashable:
    return tuple((index, tuple(sorted(amounts.items()))) for index, amounts in sorted(consumed.items()))


def _admin(state: ClaimState) -> Hashable:
    """The devices a claim has with admin access: it may not get them again."""
    return frozenset((pick.pool.key, pick.number) for pick in state.picks if pick.alternative.demand.admin)


def _counted(values: Sequence[Hashable]) -> list[Hashable]:
    counts: dict[Hashable, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.items())
