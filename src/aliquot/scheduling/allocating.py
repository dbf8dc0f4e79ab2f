"""Asking the device allocator for one node, and what an answer means for a decision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aliquot.dra.allocator import allocate
from aliquot.dra.candidates import NodeIndex
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated, BudgetExceeded, Invalid, Unallocatable
from aliquot.dra.requests import blueprint
from aliquot.dra.shares import share_of_result
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.tree import GPU, UNIT, Amount, Charge, exact
from aliquot.scheduling.holdings import class_counts
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
        self._budget = policy.search_budget
        self._uncounted = policy.uncounted_drivers
        self.index = NodeIndex.of(fleet, usage, nodes, previous)

    def possible(self, claims: Sequence[ResourceClaim]) -> int:
        """The nodes (bit i: node number i) that might serve the claims; the others cannot."""
        return self.index.possible(claims)

    def allocate(
        self, node: Node, claims: Sequence[ResourceClaim], *, explain: bool = False
    ) -> tuple[AllocationResult, ...] | DeviceFall:
        """Devices on the node for all claims, one result per claim, or why not.

        explain: fill in what fell where, which costs about as much as the search.
        """
        outcome = allocate(
            self.fleet,
            self.usage,
            node,
            claims,
            budget=self._budget,
            explain=explain,
        )
        return outcome.results if isinstance(outcome, Allocated) else DeviceFall(outcome)

    def charge(self, claim: ResourceClaim, allocation: AllocationResult) -> Charge:
        """What an allocation counts for in a queue, in billionths: accelerators under "gpu" (parts of one as
        exact fractions), and devices by DeviceClass."""
        charge: dict[str, Amount] = {
            name: number * UNIT for name, number in class_counts(claim, allocation).items()
        }
        devices = Fraction(0)
        for result in allocation.devices.results:
            if result.driver not in self._uncounted:
                devices += share_of_result(self.fleet, result)
        if devices:
            charge[GPU] = exact(devices * UNIT)
        return charge


def manager(fleet: Fleet, others: Fleet, drivers: frozenset[str] | None) -> Callable[[ResourceClaim], bool]:
    """Which claims are Aliquot's to allocate: those whose devices come from a managed driver.

    drivers: the managed ones, None for all. fleet, others: the devices of managed and of other drivers. A
    claim that is not allocated is another allocator's if its classes match devices of other drivers only.
    """

    def everything(claim: ResourceClaim) -> bool:
        return True

    if drivers is None:
        return everything

    def managed(claim: ResourceClaim) -> bool:
        allocation = claim.status.allocation
        if allocation is not None:
            return any(result.driver in drivers for result in allocation.devices.results)
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
