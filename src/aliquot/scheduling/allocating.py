"""Asking the device allocator for one node, and what an answer means for a decision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aliquot.dra.allocator import allocate
from aliquot.dra.candidates import NodeIndex
from aliquot.dra.constraints import Together
from aliquot.dra.demand import Demand
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated, BudgetExceeded, Invalid, Unallocatable
from aliquot.dra.pools import members
from aliquot.dra.requests import blueprint
from aliquot.dra.shares import share_of_device, share_of_result
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.ownership import Ownership
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge, exact
from aliquot.scheduling.holdings import class_counts, request_classes
from aliquot.scheduling.policy import Policy


@dataclass(frozen=True, slots=True)
class DeviceFall:
    """A node's devices do not serve the claims. fatal: no other node's will do either."""

    outcome: Unallocatable | Invalid | BudgetExceeded

    @property
    def fatal(self) -> bool:
        return isinstance(self.outcome, Invalid) and not self.outcome.node_only


class DeviceAllocator:
    """The fleet and what is taken of it, as one decision changes it."""

    def __init__(
        self,
        fleet: Fleet,
        usage: Usage,
        policy: Policy,
        nodes: Sequence[Node],
        previous: NodeIndex | None = None,
    ) -> None:
        """nodes: sorted by name; a node's number is its place among them. previous: the `index` of an earlier
        decision, to take over what did not change."""
        self.fleet = fleet
        self.usage = usage
        self._policy = policy
        self._budget = policy.search_budget
        self._uncounted = policy.uncounted_drivers
        self._classes = policy.counted_classes
        self.index = NodeIndex.of(fleet, usage, nodes, previous)

    def possible(self, claims: Sequence[ResourceClaim]) -> int:
        """The nodes (bit i: node number i) that might serve the claims; the others cannot."""
        return self.index.possible(claims)

    def hosts(self, claims: Sequence[ResourceClaim]) -> int:
        """The nodes (bit i: node number i) that have devices for every request of the claims, taken or free;
        -1 where some devices are not tied to a node."""
        if self.fleet.network:
            return -1
        found = -1
        for claim in claims:
            for request in blueprint(self.fleet, claim).requests:
                here = 0
                for pool in self.fleet.pools.values():
                    eligible = 0
                    for alternative in request.alternatives:
                        eligible |= alternative.demand.eligible(pool).eligible
                    for name, devices in pool.local.items() if eligible else ():
                        number = self.index.number(name)
                        if devices & eligible and number is not None:
                            here |= 1 << number
                found &= here
        return found

    def allocate(
        self,
        node: Node,
        claims: Sequence[ResourceClaim],
        *,
        explain: bool = False,
        together: Sequence[Together] = (),
    ) -> tuple[AllocationResult, ...] | DeviceFall:
        """Devices on the node for all claims, one result per claim, or why not.

        explain: fill in what fell where, which costs about as much as the search. together: what devices of
        several of the claims have to share.
        """
        outcome = allocate(
            self.fleet,
            self.usage,
            node,
            claims,
            budget=self._budget,
            explain=explain,
            together=together,
        )
        return outcome.results if isinstance(outcome, Allocated) else DeviceFall(outcome)

    def charge(self, claim: ResourceClaim, allocation: AllocationResult) -> Charge:
        """What an allocation counts for in a queue, in billionths: accelerators under "gpu" (parts of one as
        exact fractions), and devices by DeviceClass."""
        charge: dict[str, Amount] = {
            name: number * UNIT for name, number in class_counts(claim, allocation).items()
        }
        devices = Fraction(0)
        named = request_classes(claim) if self._classes else {}
        for result in allocation.devices.results:
            if result.driver not in self._uncounted and self._classes in named.get(result.request, ""):
                devices += share_of_result(self.fleet, result)
        if devices:
            charge[GPU] = exact(devices * UNIT)
        return charge

    def wanted(self, claim: ResourceClaim) -> Charge:
        """What a claim will count for before it has devices, in billionths: one accelerator for each device
        asked for, of the first alternative where there are several; a request for all devices counts one."""
        charge: dict[str, Amount] = {}
        accelerators: Amount = 0
        for request in blueprint(self.fleet, claim).requests:
            if not request.alternatives:
                continue
            first = request.alternatives[0]
            if first.demand.admin:
                continue
            name = first.device_class.metadata.name
            amount = (first.count or 1) * UNIT
            charge[name] = charge.get(name, 0) + amount
            if self._classes in name and self._counted(first.demand):
                accelerators += amount
        if accelerators:
            charge[GPU] = accelerators
        return charge

    def takes_whole(self, claim: ResourceClaim) -> bool:
        """Whether the claim gets whole devices only, so that `wanted` is what it will count for."""
        for request in blueprint(self.fleet, claim).requests:
            if len(request.alternatives) != 1 or request.alternatives[0].count is None:
                return False
            demand = request.alternatives[0].demand
            for pool in self.fleet.pools.values():
                eligible = demand.eligible(pool).eligible
                if eligible & pool.shareable:
                    return False
                # Devices of one pool that a request can have and that draw on no counters are alike in this.
                drawing = eligible & pool.drawing
                plain = eligible & ~pool.drawing
                for index in members(drawing | (plain & -plain)):
                    if share_of_device(pool, index) != 1:
                        return False
        return True

    def _counted(self, demand: Demand) -> bool:
        """Whether the devices that a request matches are accelerators; a request that matches none counts."""
        for pool in self.fleet.pools.values():
            if demand.eligible(pool).matched:
                return pool.driver not in self._uncounted
        return True

    def twin(self, nodes: Sequence[Node]) -> "DeviceAllocator":
        """An allocator that goes its own way from the present state."""
        return DeviceAllocator(self.fleet, self.usage.twin(), self._policy, nodes)


def manager(fleet: Fleet, others: Fleet, owned: Ownership | None) -> Callable[[ResourceClaim], bool]:
    """Which claims are Aliquot's to allocate: those whose devices are.

    owned: which devices are, None for all. fleet, others: those that are, and the rest. A claim that is not
    allocated is another allocator's if its classes match devices of the rest only.
    """

    def everything(claim: ResourceClaim) -> bool:
        return True

    if owned is None:
        return everything

    def managed(claim: ResourceClaim) -> bool:
        allocation = claim.status.allocation
        if allocation is not None:
            return any(owned.owns(result.driver, result.pool) for result in allocation.devices.results)
        return _matches(fleet, claim) or not _matches(others, claim)

    return managed


def _matches(fleet: Fleet, claim: ResourceClaim) -> bool:
    """Whether any device of the fleet passes the selectors of any request of the claim."""
    return any(
        alternative.demand.eligible(pool).matched
        for request in blueprint(fleet, claim).requests
        for alternative in request.alternatives
        for pool in fleet.pools.values()
    )
