"""The depth-first search of kube-scheduler's allocator: the first solution wins."""

from collections.abc import Sequence

from aliquot.cel.quantity import Quantity
from aliquot.dra.attributes import UNKNOWN, find
from aliquot.dra.capacity import consumption
from aliquot.dra.fleet import Fleet
from aliquot.dra.nodeselection import NodeSelectorError
from aliquot.dra.outcome import Allocated, BudgetExceeded, Invalid, Outcome, Unallocatable
from aliquot.dra.pools import Pool
from aliquot.dra.requests import MAX_RESULTS, Alternative, Blueprint, Request, blueprint
from aliquot.dra.results import Pick, ShareId, allocation
from aliquot.dra.strict.constraints import Tracked, tracked
from aliquot.dra.strict.validation import AbortError, Candidate, Checks
from aliquot.dra.strict.visible import VisiblePool, visible_pools
from aliquot.dra.taints import untolerated
from aliquot.dra.trampoline import Step, run
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.resource import ResourceClaim


class BudgetError(Exception):
    """The budget is used up."""


class TooManyError(Exception):
    """A request would get the claim above the limit of devices; the closest firstAvailable tries on."""


def allocate_strictly(
    fleet: Fleet,
    usage: Usage,
    node: Node,
    claims: Sequence[ResourceClaim],
    *,
    budget: int,
    new_share_id: ShareId,
) -> Outcome:
    """What kube-scheduler's allocator gives for these claims on the node."""
    blueprints = [blueprint(fleet, claim) for claim in claims]
    try:
        pools = visible_pools(fleet, usage, node)
    except NodeSelectorError as error:
        return Invalid(problem=f"a node selector of a ResourceSlice is not valid: {error}")
    search = _Search(fleet, node, pools, claims, blueprints, budget)
    try:
        found = search.run()
    except AbortError as error:
        return error.invalid
    except BudgetError:
        return BudgetExceeded(steps=search.steps)
    finally:
        for visible in pools:
            if fleet.pools[visible.key] is not visible.pool:
                fleet.matchers.forget(visible.pool)
    if not found:
        if any(visible.invalid for visible in pools):
            return Invalid(problem="invalid resource pools were encountered", node_only=True)
        return Unallocatable(steps=search.steps)
    for claim, picks in zip(search.names, search.picks, strict=True):
        ambiguous = _ambiguous(picks)
        if ambiguous:
            problem = f"the node selector of device {ambiguous} has more than one term"
            return Invalid(problem=problem, claim=claim)
    results = tuple(
        allocation(
            claim,
            ready,
            served,
            picks,
            node.metadata.name,
            binding_conditions=fleet.features.binding_conditions,
            new_share_id=new_share_id,
            configs="repeated" if fleet.kubernetes < (1, 37) else "shortened",
        )
        for claim, ready, served, picks in zip(claims, blueprints, search.served, search.picks, strict=True)
    )
    return Allocated(results=results, steps=search.steps)


def _ambiguous(picks: Sequence[Pick]) -> str:
    """The first device with a node selector of several terms before any that decides the node, else ""."""
    for pick in picks:
        device = pick.pool.devices[pick.number]
        if device.binds_to_node or pick.pool.home(pick.number):
            return ""
        selector = pick.pool.node_selection(pick.number)
        if selector is not None and len(selector.node_selector_terms) > 1:
            return device.name
    return ""


class _Search:
    def __init__(
        self,
        fleet: Fleet,
        node: Node,
        pools: Sequence[VisiblePool],
        claims: Sequence[ResourceClaim],
        blueprints: Sequence[Blueprint],
        budget: int,
    ) -> None:
        self.fleet = fleet
        self.features = fleet.features
        self.pools = pools
        self.blueprints = blueprints
        self.names = [f"{claim.metadata.namespace}/{claim.metadata.name}" for claim in claims]
        self.claims = claims
        self.checks = Checks(fleet.features, node, pools)
        self.budget = budget
        self.steps = 0
        self.candidates = [
            (visible, index)
            for visible in pools
            if visible.usable
            for index in range(len(visible.pool.devices))
        ]
        self.whole: dict[int, tuple[Candidate, ...]] = {}
        self.picks: list[list[Pick]] = [[] for _ in claims]
        self.last: list[list[Candidate]] = [[] for _ in claims]
        self.served: list[list[Alternative]] = [[] for _ in claims]
        self.constraints: list[list[Tracked]] = [
            [tracked(each, fleet.features.list_attributes) for each in ready.constraints]
            for ready in blueprints
        ]
        # Which claims of this attempt hold a device whole, by (pool, number).
        self.holding: dict[tuple[Pool, int], list[int]] = {}
        # What shares of this attempt take of each capacity, by (pool, number).
        self.sharing: dict[tuple[Pool, int], dict[str, int]] = {}
        # Upstream: counters are kept by the name of the pool alone, without its driver.
        self.available: dict[str, dict[tuple[str, str], int]] = {}
        self.drawn: dict[str, dict[tuple[str, str], int]] = {}

    def run(self) -> bool:
        for claim, ready in zip(self.claims, self.blueprints, strict=True):
            self.whole.update(self.checks.validate(claim, ready))
        try:
            return run(self._next(0, 0))
        except TooManyError:
            return False

    def _next(self, claim: int, request: int) -> Step:
        """Serve everything from a request on."""
        self._step()
        if claim == len(self.blueprints):
            return True
        requests = self.blueprints[claim].requests
        if request == len(requests):
            return (yield self._next(claim + 1, 0))
        wanted = requests[request]
        served = self.served[claim]
        if not self.claims[claim].spec.devices.requests[request].first_available:
            served.append(wanted.alternatives[0])
            found = False
            try:
                found = yield self._slot(claim, request, wanted.alternatives[0], 0, 0)
            finally:
                if not found:
                    served.pop()
            return found
        too_many = 0
        for alternative in wanted.alternatives:
            self._step()
            served.append(alternative)
            found = False
            try:
                found = yield self._slot(claim, request, alternative, 0, 0)
            except TooManyError:
                too_many += 1
            finally:
                if not found:
                    served.pop()
            if found:
                return True
        if too_many == len(wanted.alternatives):
            # Upstream: then other devices are not tried for the requests before.
            raise TooManyError
        return False

    def _step(self) -> None:
        """Count a step, as kube-scheduler's allocator counts its calls."""
        self.steps += 1
        if self.steps > self.budget:
            raise BudgetError

    def _slot(self, claim: int, request: int, alternative: Alternative, slot: int, start: int) -> Step:
        """Find the device of one slot of a request, from candidate number `start` on, and go on."""
        whole = self.whole.get(id(alternative)) if alternative.count is None else None
        count = len(whole) if whole is not None else alternative.count or 0
        if slot:
            self._step()
        if whole is not None and not whole:
            return False
        if slot >= count:
            return (yield self._next(claim, request + 1))
        if len(self.picks[claim]) + count - slot > MAX_RESULTS:
            raise TooManyError
        parent = self.blueprints[claim].requests[request]
        if whole is not None:
            visible, index = whole[slot]
            if not self._take(claim, parent, alternative, visible, index, must=True):
                return False
            return (yield self._go_on(claim, request, alternative, slot + 1, 0))
        name = self.names[claim]
        for number in range(start, len(self.candidates)):
            visible, index = self.candidates[number]
            if alternative.demand.admin:
                if claim in self.holding.get((visible.pool, index), ()):
                    continue
            elif self._in_use(visible, index):
                continue
            if not self.checks.selectable(name, alternative, visible, index):
                continue
            if not self.checks.sufficient(alternative, visible, index, self._shares(visible, index)):
                continue
            if not self._take(claim, parent, alternative, visible, index, must=False):
                continue
            if (yield self._go_on(claim, request, alternative, slot + 1, number + 1)):
                return True
        return False

    def _go_on(self, claim: int, request: int, alternative: Alternative, slot: int, start: int) -> Step:
        """Serve the rest after a device was taken, or give that device back."""
        found = False
        try:
            found = yield self._slot(claim, request, alternative, slot, start)
        finally:
            if not found:
                self._give_back(claim, self.blueprints[claim].requests[request], alternative)
        return found

    def _in_use(self, visible: VisiblePool, index: int) -> bool:
        return visible.pool.devices[index].name in visible.taken.whole or bool(
            self.holding.get((visible.pool, index))
        )

    def _shares(self, visible: VisiblePool, index: int) -> dict[str, int]:
        """What this attempt takes of a device's capacities."""
        return self.sharing.get((visible.pool, index), {})

    def _take(
        self,
        claim: int,
        request: Request,
        alternative: Alternative,
        visible: VisiblePool,
        index: int,
        *,
        must: bool,
    ) -> bool:
        pool = visible.pool
        device = pool.devices[index]
        key = (pool, index)
        shareable = bool(pool.shareable >> index & 1)
        if alternative.demand.admin:
            if claim in self.holding.get(key, ()):
                return False
        elif self._in_use(visible, index):
            return False
        if device.consumes_counters:
            if not self.features.partitionable_devices:
                return False
            # Upstream: a device counts as drawn by its shares only if they take of a capacity.
            drawn = shareable and (device.name in visible.taken.consumed or key in self.sharing)
            if not drawn and not self._draw(visible, index):
                return False
        # Upstream: from here on a refusal leaves the counters drawn.
        if self.features.device_taints and untolerated(
            self.fleet.taints.of(pool).get(index, ()), alternative.demand.tolerations
        ):
            return False
        added: list[Tracked] = []
        for constraint, tracker in zip(
            self.blueprints[claim].constraints, self.constraints[claim], strict=True
        ):
            value = pool.attribute(constraint.attribute)[index]
            if value is None and find(device, pool.driver, constraint.attribute) is not None:
                value = UNKNOWN
            if tracker.add(request.name, alternative.name, value):
                added.append(tracker)
                continue
            if must:
                raise AbortError(
                    Invalid(
                        problem=f"cannot add device {'/'.join((*visible.key, device.name))} because a "
                        "constraint of the claim would not be satisfied",
                        claim=self.names[claim],
                        path=alternative.path,
                    )
                )
            for each in added:
                each.remove(request.name, alternative.name)
            return False
        consumed: dict[str, Quantity] | None = None
        if shareable:
            # Upstream: a refusal for lack of capacity leaves the device counted in by the constraints.
            if not self.checks.sufficient(alternative, visible, index, self._shares(visible, index)):
                return False
            consumed = consumption(device, alternative.demand.capacity) or {}
            sums = self.sharing.setdefault(key, {})
            for capacity, amount in consumed.items():
                sums[capacity] = sums.get(capacity, 0) + amount.nano
        else:
            self.holding.setdefault(key, []).append(claim)
        self.picks[claim].append(Pick(alternative, pool, index, consumed))
        self.last[claim].append((visible, index))
        return True

    def _give_back(self, claim: int, request: Request, alternative: Alternative) -> None:
        """Give the claim's last device back."""
        visible, index = self.last[claim].pop()
        pick = self.picks[claim].pop()
        key = (visible.pool, index)
        for tracker in self.constraints[claim]:
            tracker.remove(request.name, alternative.name)
        if visible.pool.shareable >> index & 1:
            # Upstream: what a shareable device has drawn from counters stays drawn.
            # Upstream: a device without capacities stays known as drawn, too; one of which all shares
            # take nothing does not.
            if pick.consumed:
                sums = self.sharing.get(key, {})
                for capacity, amount in pick.consumed.items():
                    if capacity in sums:
                        sums[capacity] -= amount.nano
                if not any(sums.values()):
                    self.sharing.pop(key, None)
        else:
            self.holding[key].remove(claim)
            if self.features.partitionable_devices:
                self._count_draws(visible, index, -1)

    def _draw(self, visible: VisiblePool, index: int) -> bool:
        """Draw what a device consumes, unless that leaves any counter of the pool below zero."""
        name = visible.key[1]
        if name not in self.available:
            self.available[name] = _remaining(visible)
        self._count_draws(visible, index, 1)
        drawn = self.drawn[name]
        if all(left >= drawn.get(counter, 0) for counter, left in self.available[name].items()):
            return True
        self._count_draws(visible, index, -1)
        return False

    def _count_draws(self, visible: VisiblePool, index: int, sign: int) -> None:
        drawn = self.drawn.setdefault(visible.key[1], {})
        for consumption_ in visible.pool.devices[index].consumes_counters:
            for counter_name, counter in consumption_.counters.items():
                key = (consumption_.counter_set, counter_name)
                drawn[key] = drawn.get(key, 0) + sign * counter.value.nano


def _remaining(visible: VisiblePool) -> dict[tuple[str, str], int]:
    """What earlier allocations leave of each counter of a pool; negative when overdrawn."""
    left = {
        (counter_set.name, name): counter.value.nano
        for item in visible.pool.slices
        for counter_set in item.spec.shared_counters
        for name, counter in counter_set.counters.items()
    }
    for device in visible.all_devices:
        if device.name in visible.taken.whole or device.name in visible.taken.shared:
            for consumption_ in device.consumes_counters:
                for counter_name, counter in consumption_.counters.items():
                    key = (consumption_.counter_set, counter_name)
                    if key in left:
                        left[key] -= counter.value.nano
    return left
