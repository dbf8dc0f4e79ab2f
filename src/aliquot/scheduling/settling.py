"""Two allocators on one node: the scheduler serves extended resources, Aliquot serves claims.

Each decides on what it has seen, so they must not decide about the same devices at the same time. A pod with
extended resources is let go only when the scheduler has had time to see everything written about the pools
that its node reaches; from then on until the scheduler's claim for it is there, nothing of those pools is
given out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import PoolKey
from aliquot.dra.usage import ClaimKey
from aliquot.model.core import Node
from aliquot.model.resource import (
    AllocationResult,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    ResourceClaim,
)
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.scheduling.claims import schedulers_own
from aliquot.scheduling.gang_state import Member


class Settling:
    """The pools that are not to be touched by one of the two, in one decision.

    busy: pools about which Aliquot will write by this plan. yielded: pools left to the scheduler.
    """

    def __init__(
        self,
        fleet: Fleet,
        take: Callable[[ClaimKey, AllocationResult], None],
        nodes: Mapping[str, Node],
        claims: Sequence[ResourceClaim],
        now: datetime,
        seconds: int,
    ) -> None:
        """take: counts devices as taken. claims: all of the snapshot's."""
        self._fleet = fleet
        self._take = take
        self._nodes = nodes
        self._earliest = now - timedelta(seconds=seconds)
        self._claims = claims
        self._written: set[PoolKey] | None = None
        self._busy: set[PoolKey] = set()
        self._yielded: set[PoolKey] = set()

    def recall(self, in_flight: Iterable[str]) -> None:
        """Take in what was done before: nodes of pods with extended resources that are let go."""
        for name in sorted(set(in_flight)):
            self._give_way(name)

    def _recent(self) -> set[PoolKey]:
        """The pools about which Aliquot wrote of late."""
        if self._written is None:
            self._written = set()
            for claim in self._claims:
                allocation = claim.status.allocation
                if (
                    allocation is not None
                    and allocation.allocation_timestamp is not None
                    and allocation.allocation_timestamp > self._earliest
                    and not schedulers_own(claim)
                ):
                    self._written.update((item.driver, item.pool) for item in allocation.devices.results)
        return self._written

    def too_early(self, members: Sequence[Member]) -> list[Member]:
        """Those of the members that were given a place whose node has to settle before they are let go.

        Of several pods with extended resources for the same pools one goes at a time.
        """
        found: list[Member] = []
        for member in members:
            assert member.facts is not None
            assert member.hold is not None
            self._busy.update(
                (result.driver, result.pool)
                for claim, allocation in member.hold.claims
                if claim is not member.facts.extended
                for result in allocation.devices.results
            )
        for member in members:
            if member.facts is None or member.facts.extended is None:
                continue
            pools = self._reached(member.node)
            if pools & self._busy or pools & self._yielded or pools & self._recent():
                found.append(member)
            else:
                self._give_way(member.node)
        return found

    def _reached(self, name: str) -> set[PoolKey]:
        node = self._nodes.get(name)
        return set() if node is None else {pool.key for pool, _ in self._fleet.reach(node)}

    def _give_way(self, name: str) -> None:
        """Take every device of every pool that the node reaches, so that this plan gives none of them out."""
        for key in sorted(self._reached(name) - self._yielded):
            self._yielded.add(key)
            driver, pool = key
            results = tuple(
                DeviceRequestAllocationResult(driver=driver, pool=pool, device=device.name)
                for device in self._fleet.pools[key].devices
            )
            allocation = AllocationResult(devices=DeviceAllocationResult(results=results))
            self._take(("", f"{driver}/{pool}"), allocation)


def settling_verdict(node: str) -> Verdict:
    return Verdict(reason=Reason.NODE_SETTLING, facts=(Fact(test="settling", subject=node),))
