"""The search of mode `best`: complete within a budget of steps, cheapest devices first.

Claims, requests and alternatives are served in order; devices are tried from the cheapest on. Two rules
keep the search short without losing solutions:

- Devices that are interchangeable in the current state are tried once. If a request cannot be completed
  with one of them it cannot be with another, so the whole class is left out of the rest of that request.
- A state that led nowhere at a request is remembered; reaching it again in another order ends at once.
"""

from collections.abc import Hashable, Sequence
from typing import Protocol

from aliquot.cel.quantity import Quantity
from aliquot.dra.capacity import consumption
from aliquot.dra.constraints import Agreement, Held, SharedAgreement, Together
from aliquot.dra.demand import fits
from aliquot.dra.fleet import Fleet, Reach
from aliquot.dra.interchange import Interchange
from aliquot.dra.pools import Devices, Pool, members
from aliquot.dra.progress import Progress
from aliquot.dra.requests import MAX_RESULTS, Alternative, Blueprint, Constraint
from aliquot.dra.results import Pick
from aliquot.dra.trampoline import Step, run
from aliquot.dra.view import Saved, View


class Observer(Protocol):
    """Told about every device that is tried."""

    def tried(self, request: str, driver: str, pool: str, device: str, kept: bool) -> None:
        """kept: False when a constraint ruled the device out at once."""


class BudgetError(Exception):
    """The budget is used up."""


class Search:
    """One attempt to serve all claims on one node."""

    def __init__(
        self,
        fleet: Fleet,
        views: Sequence[View],
        blueprints: Sequence[Blueprint],
        budget: int,
        reach: Reach,
        observer: Observer | None,
        together: Sequence[Together] = (),
    ) -> None:
        self.fleet = fleet
        self.views = views
        self.budget = budget
        self.observer = observer
        self.steps = 0
        # A request for All must not be served while part of a pool is unknown.
        self.unclear = any(pool.problem for pool, _ in reach)
        lists = fleet.features.list_attributes
        self.claims = [
            Progress(each, [], [], [], [Agreement(constraint, lists) for constraint in each.constraints], [])
            for each in blueprints
        ]
        for each in together:
            self._join(each, lists)
        self.order = [(state, request) for state in self.claims for request in state.blueprint.requests]
        self._whole: dict[int, list[Devices]] = {}
        self._hopeless: set[Hashable] = set()
        self._interchange = Interchange(fleet.taints, views, blueprints, together)

    def run(self) -> bool:
        """Whether all claims are served; if so, `claims` says how. Raises BudgetError."""
        for state in self.claims:
            for request in state.blueprint.requests:
                for alternative in request.alternatives:
                    if alternative.count is None:
                        self._whole[id(alternative)] = [
                            self._all_of(view, alternative) for view in self.views
                        ]
        return run(self._serve(0))

    def _join(self, together: Together, lists: bool) -> None:
        """Tie claims to each other where their requests can have devices with the attribute."""
        cell = [together.held]
        having = [
            sum(view.pool.groups(together.name_in(view.pool)).values()) & view.devices for view in self.views
        ]
        for number in sorted(together.claims):
            state = self.claims[number]
            concerned = frozenset(
                alternative.name
                for request in state.blueprint.requests
                for alternative in request.alternatives
                if any(
                    alternative.demand.eligible(view.pool).matched & devices
                    for view, devices in zip(self.views, having, strict=True)
                )
            )
            if concerned:
                constraint = Constraint(together.attributes[0], False, concerned)
                state.agreements.append(SharedAgreement(constraint, lists, together, cell))

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

    def _serve(self, position: int) -> Step:
        """Serve all requests from a position on."""
        if position == len(self.order):
            return True
        if self._hopeless and self._fingerprint(position) in self._hopeless:
            return False
        claim, request = self.order[position]
        for alternative in request.alternatives:
            claim.served.append(alternative)
            if alternative.count is None:
                served = yield self._serve_all(position, claim, alternative)
            elif len(claim.picks) + alternative.count > MAX_RESULTS:
                served = False
            else:
                banned = [0] * len(self.views)
                served = yield self._choose(position, claim, alternative, alternative.count, banned)
            if served:
                return True
            claim.served.pop()
        self._hopeless.add(self._fingerprint(position))
        return False

    def _serve_all(self, position: int, claim: Progress, alternative: Alternative) -> Step:
        wanted = self._whole[id(alternative)]
        total = sum(each.bit_count() for each in wanted)
        if self.unclear or not total or len(claim.picks) + total > MAX_RESULTS:
            return False
        undo: list[tuple[View, tuple[Saved, list[Held | None]]]] = []
        served = True
        for view, devices in zip(self.views, wanted, strict=True):
            for index in members(devices):
                # Devices of one request can draw on the same counters, so each is tested when its turn comes.
                if not self._free(view, alternative, claim) >> index & 1:
                    served = False
                    break
                taken = self._take(claim, alternative, view, index, 0.0)
                if taken is None:
                    served = False
                    break
                undo.append((view, taken))
            if not served:
                break
        if served and (yield self._serve(position + 1)):
            return True
        for view, taken in reversed(undo):
            self._give_back(claim, view, taken)
        return False

    def _free(self, view: View, alternative: Alternative, claim: Progress) -> Devices:
        free = alternative.demand.free(view.pool, view) & view.devices
        if alternative.demand.admin:
            # One claim does not get a device twice.
            for pick in claim.picks:
                if pick.pool is view.pool:
                    free &= ~(1 << pick.number)
        elif any(each.demand.admin for each in claim.served):
            for pick in claim.picks:
                if pick.pool is view.pool and pick.alternative.demand.admin:
                    free &= ~(1 << pick.number)
        return free

    def _choose(
        self, position: int, claim: Progress, alternative: Alternative, wanted: int, banned: list[Devices]
    ) -> Step:
        """Choose `wanted` more devices for a request, none of the banned, and serve the rest."""
        if not wanted:
            return (yield self._serve(position + 1))
        candidates = self._candidates(claim, alternative, wanted, banned)
        if len(candidates) < wanted:
            return False
        classes: list[Hashable] | None = None
        left_out: set[Hashable] = set()
        remaining = len(candidates)
        for at, (cost, number, index) in enumerate(candidates):
            if classes is not None and classes[at] in left_out:
                continue
            view = self.views[number]
            taken = self._take(claim, alternative, view, index, cost)
            if taken is not None:
                bit = 1 << index
                banned[number] |= bit
                if (yield self._choose(position, claim, alternative, wanted - 1, banned.copy())):
                    return True
                banned[number] &= ~bit
                self._give_back(claim, view, taken)
            if classes is None:
                self.steps += len(candidates) // 16
                classes = [self._interchange.class_of(claim, each[1], each[2], banned) for each in candidates]
            left_out.add(classes[at])
            for other, each in enumerate(candidates):
                if classes[other] == classes[at]:
                    banned[each[1]] |= 1 << each[2]
                    remaining -= 1
            if remaining < wanted:
                return False
        return False

    def _candidates(
        self, claim: Progress, alternative: Alternative, wanted: int, banned: list[Devices]
    ) -> list[tuple[float, int, int]]:
        """(cost, view, device) of all devices that can be chosen now, cheapest first."""
        found: list[tuple[float, int, int]] = []
        frees = [
            self._free(view, alternative, claim) & ~barred
            for view, barred in zip(self.views, banned, strict=True)
        ]
        request = self._request_of(alternative)
        for agreement in claim.agreements:
            if agreement.constraint.covers(request, alternative.name):
                frees = agreement.narrow(self.views, frees, wanted)
        for number, (view, free) in enumerate(zip(self.views, frees, strict=True)):
            if not free:
                continue
            tainted = self.fleet.taints.tainted(view.pool)
            costs = view.appraisal.costs(free, view, wanted, tainted, claim.near)
            found.extend((cost, number, index) for index, cost in costs.items())
        self.steps += len(found) // 64
        found.sort()
        return found

    @staticmethod
    def _request_of(alternative: Alternative) -> str:
        """The name of the request that an alternative belongs to."""
        return alternative.name.partition("/")[0]

    def _take(
        self, claim: Progress, alternative: Alternative, view: View, index: int, cost: float
    ) -> tuple[Saved, list[Held | None]] | None:
        """Take a device, if the constraints allow; gives what `_give_back` needs."""
        self.steps += 1
        if self.steps > self.budget:
            raise BudgetError
        pool = view.pool
        request = self._request_of(alternative)
        before = [agreement.value for agreement in claim.agreements]
        for agreement in claim.agreements:
            if agreement.constraint.covers(request, alternative.name) and not agreement.add(
                pool.attribute(agreement.attribute(pool))[index]
            ):
                for each, value in zip(claim.agreements, before, strict=True):
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
        claim.picks.append(Pick(alternative, pool, index, consumed))
        claim.near.append(view.appraisal.places_of(index))
        claim.costs.append(cost)
        if self.observer is not None:
            self._tell(alternative, pool, index, kept=True)
        return saved, before

    def _give_back(self, claim: Progress, view: View, taken: tuple[Saved, list[Held | None]]) -> None:
        saved, before = taken
        view.restore(saved)
        for agreement, value in zip(claim.agreements, before, strict=True):
            agreement.value = value
        claim.picks.pop()
        claim.near.pop()
        claim.costs.pop()

    def _tell(self, alternative: Alternative, pool: Pool, index: int, *, kept: bool) -> None:
        if self.observer is not None:
            self.observer.tried(alternative.name, pool.driver, pool.name, pool.devices[index].name, kept)

    def _fingerprint(self, position: int) -> Hashable:
        """Everything that decides whether the requests from a position on can be served."""
        return (
            position,
            tuple((view.taken, view.shared, view.remaining, _frozen(view.consumed)) for view in self.views),
            tuple(
                (
                    len(state.picks),
                    tuple(agreement.value for agreement in state.agreements),
                    state.bars(),
                )
                for state in self.claims
            ),
        )


def _frozen(consumed: dict[int, dict[str, int]]) -> Hashable:
    return tuple((index, tuple(sorted(amounts.items()))) for index, amounts in sorted(consumed.items()))
